"""Viewers of a hand through a video: one HTML file to share, and a local page."""
