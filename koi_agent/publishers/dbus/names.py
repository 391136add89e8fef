"""Object paths of instances and backends; no other module makes any."""

from koi_agent.bus.object_paths import encode
from koi_agent.core.dbus_names import BACKENDS, INSTANCES
from koi_agent.core.key import Key


def instance_path(key: Key) -> str:
    """Return the object path of an instance."""
    return f"{INSTANCES}/{encode(str(key))}"


def backend_path(name: str) -> str:
    """Return the object path of a backend."""
    return f"{BACKENDS}/{encode(name)}"
