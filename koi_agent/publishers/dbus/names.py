"""The one place where object paths are made."""

from koi_agent.bus.labels import encode
from koi_agent.core.api import BACKENDS, INSTANCES


def instance_path(key: str) -> str:
    """Tell the object path of an instance, by its key."""
    return f"{INSTANCES}/{encode(key)}"


def backend_path(name: str) -> str:
    """Tell the object path of a backend."""
    return f"{BACKENDS}/{encode(name)}"
