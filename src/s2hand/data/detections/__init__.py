"""2D detections: what is detected, its file forms, and tracks of several hands."""
