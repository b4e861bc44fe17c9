"""2D detections: keypoints per image, their file formats, and tracks of several hands."""
