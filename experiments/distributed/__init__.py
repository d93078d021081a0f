"""Whether training in many processes with compressed gradients learns as well, and how fast."""
