"""Whether compression helps or hurts training on digits."""
