"""Names of the D-Bus API, and the one place where object paths are made."""

from koi_agent.bus.labels import encode

NAME = "org.sylin.koi.Runtime1"
ROOT = "/org/sylin/koi/Runtime1"
MANAGER = f"{NAME}.Manager"
INSTANCE = f"{NAME}.Instance"
BACKEND = f"{NAME}.Backend"
INSTANCES = f"{ROOT}/instance"
BACKENDS = f"{ROOT}/backend"


def instance_path(key: str) -> str:
    """Tell the object path of an instance, by its key."""
    return f"{INSTANCES}/{encode(key)}"


def backend_path(name: str) -> str:
    """Tell the object path of a backend."""
    return f"{BACKENDS}/{encode(name)}"
