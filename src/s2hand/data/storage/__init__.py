"""Caches on disk: arrays, features of frozen stages, files read ahead, shared texts."""
