"""Which files are read, by the UAPI group's rules for configuration files (UAPI.6).

Of the main files the one in the highest tree replaces all others. Drop-ins are read after it,
all trees together, sorted by file name; of one name, too, the highest tree's replaces the
others. A file that is empty or the null device says nothing, and so masks those below it. No
file has to be there; one that is there and can't be read is an error.
"""

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from koi_agent.core.errors import ConfigError
from koi_agent.core.text import printable

LARGEST: Final = 1024 * 1024
"""Bytes of one file; a larger one is an error."""
FOLDER: Final = "koi-runtime"
MAIN: Final = "koi-runtime.conf"
DROP_INS: Final = "koi-runtime.conf.d"
_SUFFIX = ".conf"
_NULL_DEVICE = os.makedev(1, 3)


@dataclass(frozen=True, slots=True)
class File:
    """A file that says something, and what is in it."""

    path: str
    data: bytes


def trees(scope: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Name the folders where files may be, the highest first.

    A user's agent reads the user's own files and those meant for all users, in the order in
    which systemd.unit(5) has the folders of user units; never the system agent's, just as
    user.conf is not system.conf to systemd. A variable that is no absolute path is none
    (XDG Base Directory Specification).
    """
    system = tuple(f"{top}/{FOLDER}" for top in ("/etc", "/run", "/usr/local/lib", "/usr/lib"))
    if scope == "system":
        return system
    home = _folder(environment, "HOME")
    own = _folder(environment, "XDG_CONFIG_HOME") or (home and f"{home}/.config")
    runtime = _folder(environment, "XDG_RUNTIME_DIR")
    etc, run, *vendors = (f"{tree}/user" for tree in system)
    found = (own and f"{own}/{FOLDER}", etc, runtime and f"{runtime}/{FOLDER}", run, *vendors)
    return tuple(filter(None, found))


def _folder(environment: Mapping[str, str], variable: str) -> str:
    folder = environment.get(variable, "")
    return folder if folder.startswith("/") else ""


def files(among: Sequence[str]) -> tuple[list[File], list[str]]:
    """Read what is in force in these trees, the lowest first; also say what was passed over.

    Raises ``ConfigError`` that names the file.
    """
    warnings: list[str] = []
    mains = [f"{tree}/{MAIN}" for tree in among]
    drop_ins = _drop_ins([f"{tree}/{DROP_INS}" for tree in among])
    ordered = (mains, *(drop_ins[name] for name in sorted(drop_ins)))
    found = [file for paths in ordered if (file := _first(paths, warnings))]
    return found, warnings


def _drop_ins(folders: Iterable[str]) -> dict[str, list[str]]:
    """Find the paths of each name, the highest first; a hidden file is none (conf_files_list)."""
    found: dict[str, list[str]] = {}
    for folder in folders:
        try:
            names = os.listdir(folder)  # noqa: PTH208  # names are what is sorted
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _unreadable(folder, error) from error
        for name in names:
            if name.endswith(_SUFFIX) and not name.startswith("."):
                found.setdefault(name, []).append(f"{folder}/{name}")
    return found


def _first(paths: Iterable[str], warnings: list[str]) -> File | None:
    """Read the first of these that is there; ``None`` if there is none, or it is masked."""
    for path in paths:
        try:
            data = _content(path)
        except FileNotFoundError:
            with suppress(OSError):
                warnings.append(f"{printable(path)} is a link to {_target(path)}: nothing is there")
            continue
        except OSError as error:
            raise _unreadable(path, error) from error
        return File(path, data) if data else None
    return None


def _target(path: str) -> str:
    return printable(os.readlink(path))  # noqa: PTH115  # as it is spelled


def _content(path: str) -> bytes:
    """Read a regular file, whole; the null device, a mask, reads as empty.

    A device other than it is not opened, for that may do something.
    """
    if not _is_regular(path, os.stat(path)):  # noqa: PTH116  # the descriptor's twin
        return b""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    with open(descriptor, "rb") as file:  # noqa: PTH123  # a descriptor
        data = file.read(LARGEST + 1) if _is_regular(path, os.fstat(descriptor)) else b""
    if len(data) > LARGEST:
        raise ConfigError(f"{printable(path)} is larger than {LARGEST // 1024} KiB")
    return data


def _is_regular(path: str, status: os.stat_result) -> bool:
    if stat.S_ISREG(status.st_mode):
        return True
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == _NULL_DEVICE:
        return False
    raise ConfigError(f"{printable(path)} is not a regular file")


def _unreadable(path: str, error: OSError) -> ConfigError:
    return ConfigError(f"{printable(path)} can't be read: {error.strerror or error}")
