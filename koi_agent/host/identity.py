"""Returns what specifiers of unit files mean on this host (systemd.unit(5), "Specifiers")."""

import os
import platform
import shlex
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

# The names of ConditionArchitecture= in systemd.unit(5), by those of uname(2).
_ARCHITECTURES: Final = {
    "x86_64": "x86-64",
    **dict.fromkeys(("i386", "i486", "i586", "i686"), "x86"),
    "aarch64": "arm64",
    **dict.fromkeys(("armv5tel", "armv6l", "armv7l", "armv8l"), "arm"),
    "ppc64le": "ppc64-le",
    **{name: name for name in ("ppc64", "riscv64", "s390x", "loongarch64", "mips64")},
}
_MACHINE_ID: Final = Path("/etc/machine-id")
_MACHINE_INFO: Final = Path("/etc/machine-info")
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

Meaning = Callable[[], str | None]
"""Returns the text of a specifier, None if it is not known."""


def _release(field: str) -> Meaning:
    """Return the meaning of a field of os-release(5); one that is not set is empty."""

    def read() -> str | None:
        try:
            return platform.freedesktop_os_release().get(field, "")
        except OSError:
            return None

    return read


def _id(path: Path) -> Meaning:
    def read() -> str | None:
        try:
            return path.read_text().strip().replace("-", "") or None
        except (OSError, UnicodeDecodeError):
            return None

    return read


def _short_host_name() -> str:
    return socket.gethostname().partition(".")[0]


def _pretty_host_name() -> str:
    """Return the name of machine-info(5), or the host name."""
    try:
        words = shlex.split(_MACHINE_INFO.read_text(), comments=True)
    except (OSError, ValueError):
        words = []
    pretty = [word.partition("=")[2] for word in words if word.startswith("PRETTY_HOSTNAME=")]
    return (pretty or [""])[-1] or socket.gethostname()


SPECIFIERS: Final[Mapping[str, Meaning]] = {
    "a": lambda: _ARCHITECTURES.get(os.uname().machine),
    "A": _release("IMAGE_VERSION"),
    "b": _id(_BOOT_ID),
    "B": _release("BUILD_ID"),
    "H": socket.gethostname,
    "l": _short_host_name,
    "m": _id(_MACHINE_ID),
    "M": _release("IMAGE_ID"),
    "o": _release("ID"),
    "q": _pretty_host_name,
    "v": lambda: os.uname().release,
    "w": _release("VERSION_ID"),
    "W": _release("VARIANT_ID"),
}
"""The specifiers of the host, by their letter."""
