"""``s2hand-data``: published datasets checked, drawn and packed."""
