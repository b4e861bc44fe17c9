"""The embedded open hand; PROVENANCE.md tells where it comes from."""
