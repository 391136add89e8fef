"""The publishers: they show the state of the registry to other programs."""
