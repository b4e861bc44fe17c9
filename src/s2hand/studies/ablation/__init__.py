"""Ablations of one checkpoint: rows of changes, running them, and their table."""
