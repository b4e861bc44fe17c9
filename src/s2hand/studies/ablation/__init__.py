"""Ablations of one checkpoint: what a row changes, running rows, and their table."""
