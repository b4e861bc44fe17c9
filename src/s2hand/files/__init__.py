"""Files and what every command does with them: atomic writing, JSON, locks, progress, errors."""
