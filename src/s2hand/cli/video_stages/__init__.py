"""``s2hand-video``: its stages and their results."""
