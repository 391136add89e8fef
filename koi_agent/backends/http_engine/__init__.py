"""Shared code of the backends that speak HTTP to an engine."""
