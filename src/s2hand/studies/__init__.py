"""Sweeps: a folder per job, failures, and the comparison of runs."""
