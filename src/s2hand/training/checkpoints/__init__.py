"""Checkpoints: writing, reading, and fetching from Weights & Biases."""
