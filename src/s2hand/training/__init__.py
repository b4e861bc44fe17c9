"""Training: from a configuration to a trained model and its measurements."""
