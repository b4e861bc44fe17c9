"""Own pictures and video: decoding, sources, crops, and the dataset of them."""
