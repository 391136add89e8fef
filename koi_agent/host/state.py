"""The directory for what the agent must know after a restart."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

SYSTEM: Final = Path("/var/lib/koi-runtime")


def state_directory(scope: str, environment: Mapping[str, str]) -> Path:
    """Return the directory for a scope, ``system`` or ``user``; it may not exist yet."""
    if directory := environment.get("STATE_DIRECTORY", "").partition(":")[0]:
        return Path(directory)
    if scope == "system":
        return SYSTEM
    state = environment.get("XDG_STATE_HOME", "")
    home = Path(state) if state.startswith("/") else Path.home() / ".local/state"
    return home / "koi-runtime"
