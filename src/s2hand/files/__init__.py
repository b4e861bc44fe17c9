"""Files: atomic writing, JSON, safe pickles, checksums, locks, progress, error messages."""
