"""Fitting one recording: adapting weights, refining single frames, fusing frames to one hand."""
