"""Sweeps: a folder for each job, what failed, and what came of a study."""
