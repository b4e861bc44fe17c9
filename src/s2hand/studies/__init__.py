"""Studies: sweeps of runs, their failures and comparison, and ablations."""
