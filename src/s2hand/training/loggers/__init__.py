"""Loggers: metrics.csv, gradient norms and speed, and the wandb dashboard."""
