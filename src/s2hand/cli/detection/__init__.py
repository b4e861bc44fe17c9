"""``s2hand-detect``: detection on recordings and on published datasets."""
