"""Packed datasets: tar shards with an index, on disk or in an object store."""
