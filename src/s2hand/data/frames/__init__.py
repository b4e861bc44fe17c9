"""The user's pictures and videos: decoding, sources, crops, and the dataset of them."""
