"""Objectives as pure functions of energies or of an energy and a batch."""
