"""Particle systems that live as long as a training run."""
