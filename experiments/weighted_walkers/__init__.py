"""What weighted walkers and exact compressed steps gain and cost."""
