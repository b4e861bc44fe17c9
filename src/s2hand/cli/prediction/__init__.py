"""What ``s2hand-predict`` and its likes make of pictures and clips."""
