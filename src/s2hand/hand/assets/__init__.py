"""The embedded open hand; PROVENANCE.md names its sources."""
