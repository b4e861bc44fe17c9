"""Fitting one recording: adaptation of weights, refinement of single frames, fusion of frames."""
