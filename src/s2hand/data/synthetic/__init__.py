"""Rendered hands with known truth: images, sequences, and what they are made of."""
