"""What compression saves in bytes and costs in nats, from the results of other studies."""
