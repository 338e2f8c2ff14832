"""Alternatives to OrderFlow, each configured for its best speed: see `compare.bench`."""
