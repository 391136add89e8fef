"""The input engine: follows the backends and passes their changes to the registry."""
