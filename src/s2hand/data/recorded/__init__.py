"""Published datasets: one loader each, what they share, and the registry of formats."""
