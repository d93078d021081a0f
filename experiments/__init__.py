"""What the methods do, measured: one folder per study."""
