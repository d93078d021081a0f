"""Reads the data of runs: arrays, folders of images and the usual data sets."""
