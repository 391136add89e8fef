"""The version of the installed systemd-resolved, on which its features depend."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

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


def _shared(root: Path) -> Iterator[Path]:
    """Yield the shared libraries of systemd, wherever the distribution has them."""
    directories = ("systemd", "*-linux-*/systemd", "../lib64/systemd")
    for directory in directories:
        yield from root.glob(f"{directory}/libsystemd-shared-*.so")
