"""Returns what specifiers of unit files mean on this host (systemd.unit(5), "Specifiers")."""

import grp
import os
import pwd
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
        import platform  # noqa: PLC0415 - few unit files need it

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
    """Return the host's present name without its domain."""
    return socket.gethostname().partition(".")[0]


def _pretty_host_name() -> str:
    """Return the name of machine-info(5), or the host name."""
    try:
        words = shlex.split(_MACHINE_INFO.read_text(), comments=True)
    except (OSError, ValueError):
        words = []
    pretty = [word.partition("=")[2] for word in words if word.startswith("PRETTY_HOSTNAME=")]
    return (pretty or [""])[-1] or socket.gethostname()


_HOST: Final[Mapping[str, Meaning]] = {
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
_SYSTEM_DIRECTORIES: Final = {
    "C": "/var/cache",
    "D": "/usr/share",
    "E": "/etc",
    "L": "/var/log",
    "S": "/var/lib",
    "t": "/run",
}
_USER_DIRECTORIES: Final = {
    "C": ("XDG_CACHE_HOME", ".cache"),
    "D": ("XDG_DATA_HOME", ".local/share"),
    "E": ("XDG_CONFIG_HOME", ".config"),
    "S": ("XDG_STATE_HOME", ".local/state"),
}
"""The variable of each directory, and its default below the home directory."""


def specifiers(scope: str, environment: Mapping[str, str]) -> Mapping[str, Meaning]:
    """Return the specifiers that are the same for all units of a manager, by their letter.

    The system's manager runs as root, and no variable changes its directories. A user's manager
    runs as the user of this process, and has passed its ``environment`` to it.
    """
    uid = 0 if scope == "system" else os.getuid()
    directories = _directories(uid, {} if scope == "system" else environment, scope)
    return {**_HOST, **_user(uid), **{letter: _known(path) for letter, path in directories.items()}}


def _known(text: str) -> Meaning:
    return lambda: text or None


def _user(uid: int) -> Mapping[str, Meaning]:
    """Return the specifiers of a user; those that need the database are read when used."""

    def of_account(read: Callable[[pwd.struct_passwd], str]) -> Meaning:
        def meaning() -> str | None:
            try:
                return read(pwd.getpwuid(uid)) or None
            except KeyError:
                return None

        return meaning

    return {
        "U": lambda: str(uid),
        "u": of_account(lambda account: account.pw_name),
        "h": of_account(lambda account: account.pw_dir),
        "s": of_account(lambda account: account.pw_shell),
        "G": of_account(lambda account: str(account.pw_gid)),
        "g": of_account(lambda account: grp.getgrgid(account.pw_gid).gr_name),
    }


def _directories(uid: int, environment: Mapping[str, str], scope: str) -> Mapping[str, str]:
    """Return the directories of a manager; one that is not known is empty."""
    temporary = next(filter(None, map(environment.get, ("TMPDIR", "TEMP", "TMP"))), "")
    common = {"T": temporary or "/tmp", "V": temporary or "/var/tmp"}  # noqa: S108 - as systemd does
    if scope == "system":
        return common | _SYSTEM_DIRECTORIES
    home = environment.get("HOME") or _user(uid)["h"]() or ""
    found = {
        letter: environment.get(variable) or (home and f"{home}/{default}")
        for letter, (variable, default) in _USER_DIRECTORIES.items()
    }
    return {
        **common,
        **found,
        "h": home,
        "L": found["S"] and f"{found['S']}/log",
        "t": environment.get("XDG_RUNTIME_DIR", ""),
    }
