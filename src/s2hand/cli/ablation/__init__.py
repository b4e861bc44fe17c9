"""``s2hand-ablate``: what a row may change, and the table of them."""
