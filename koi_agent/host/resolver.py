"""systemd-resolved: its name on the bus, and the version on which its features depend."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

RESOLVED: Final = "org.freedesktop.resolve1"
STATIC_SINCE: Final = 261
"""The first version that has static records."""
HOOK_SINCE: Final = 259
"""The first version that asks hooks."""
HOOK_SOCKET: Final = Path("/run/systemd/resolve.hook/org.sylin.koi.Hook")
"""The socket of koi-runtime-hook.socket, where systemd-resolved looks for hooks."""
HOOK_DIRECTORY: Final = Path("/run/koi-runtime-hook")
"""The RuntimeDirectory= of koi-runtime-hook.service, which exists while the service is started."""
ROOT: Final = Path("/usr/lib")
_LIBRARY: Final = re.compile(r"libsystemd-shared-([0-9]{3,})(?:[.~-].*)?\.so")


def resolved_version(root: Path = ROOT) -> int:
    """Return the version of the systemd-resolved that is installed below ``root``, 0 for none.

    It is in the name of the library that all programs of systemd share, so no program has to run.
    """
    if not (root / "systemd/systemd-resolved").exists():
        return 0
    versions = (_LIBRARY.fullmatch(file.name) for file in _shared(root))
    return max((int(match[1]) for match in versions if match), default=0)


def static_obstacle(scope: str, root: Path = ROOT) -> str:
    """Return why the agent of a scope can't write static records, "" if it can."""
    if scope != "system":
        return "only the system's agent writes static records"
    return _age(STATIC_SINCE, root)


def hook_obstacle(scope: str, root: Path = ROOT) -> str:
    """Return why the agent of a scope can't answer systemd-resolved, "" if it can."""
    return _age(HOOK_SINCE, root) if scope == "system" else "only the system's agent has a hook"


def _age(since: int, root: Path) -> str:
    """Return why the installed version is too old, "" if it is not."""
    version = resolved_version(root)
    if version >= since:
        return ""
    has = f"version {version} is installed" if version else "it is not installed"
    return f"systemd-resolved {since} or later is needed, and {has}"


def _shared(root: Path) -> Iterator[Path]:
    """Yield the shared libraries of systemd, wherever the distribution has them."""
    directories = ("systemd", "*-linux-*/systemd", "../lib64/systemd")
    for directory in directories:
        yield from root.glob(f"{directory}/libsystemd-shared-*.so")
