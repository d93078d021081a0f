"""Trains in a folder, from the first iteration or from a checkpoint, until the end or a signal."""
