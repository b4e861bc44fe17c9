"""S2HAND and S2HAND(V): 3D hands from images and video, trained without 3D labels."""

__version__ = "0.1.0"
