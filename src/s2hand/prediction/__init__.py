"""From a model to files: clips, films, pictures, track files, and the stages of s2hand-video."""
