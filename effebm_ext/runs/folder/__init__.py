"""Keeps the files of a run in its folder: checkpoints, configurations, metrics and the lock."""
