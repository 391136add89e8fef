"""Follows the backends, and passes their changes to the registry."""
