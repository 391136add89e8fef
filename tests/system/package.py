"""The Debian package of this checkout, as ``make deb`` built it."""

from pathlib import Path
from typing import Final

from tests.machine import Machine
from tests.namespaces import CHECKOUT

PLACE: Final = "/srv/koi-runtime.deb"
"""Where a machine finds it."""


def built() -> Path:
    """Find the package; ``make machine-test`` builds it."""
    (package,) = (CHECKOUT / "build/deb").glob("koi-runtime_*_all.deb")
    return package


def install(machine: Machine, package: str = PLACE) -> str:
    """Install it, or another package that is in the machine; returns what apt said."""
    machine.path(PLACE).write_bytes(built().read_bytes())
    return apt(machine, "install", "--allow-downgrades", package)


def apt(machine: Machine, *arguments: str) -> str:
    """Run apt without questions."""
    command = ("apt-get", "--yes", "--no-install-recommends", *arguments)
    return machine.run(*command, env={"DEBIAN_FRONTEND": "noninteractive"}, timeout=120).stdout
