"""Evaluates the models of runs."""
