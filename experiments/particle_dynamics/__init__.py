"""Whether particles that follow the energy learn a better density."""
