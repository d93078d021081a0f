"""How well log Z is estimated where it is known."""
