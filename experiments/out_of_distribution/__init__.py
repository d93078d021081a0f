"""What energies that score matching trained on one set of pictures find unlikely."""
