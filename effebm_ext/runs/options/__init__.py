"""Declares the options of runs, and reads their values."""
