"""Published datasets: one loader each, their common base, and the registry of formats."""
