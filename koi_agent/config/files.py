"""Finds and reads the configuration files, by the UAPI group's specification (UAPI.6).

The main file is read from the first tree that has it. Then the drop-ins of all trees are read,
sorted by file name. If several trees have a drop-in of the same name, the first tree takes
precedence. An empty file or a link to the null device masks files of the same name in later
trees. No file is required, but a file that cannot be read is an error.
"""

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from koi_agent.core.errors import ConfigError
from koi_agent.core.frozen import frozen
from koi_agent.core.text import printable

LARGEST: Final = 1024 * 1024
"""Bytes of one file; a larger file is an error."""
FOLDER: Final = "koi-runtime"
MAIN: Final = "koi-runtime.conf"
DROP_INS: Final = "koi-runtime.conf.d"
_SUFFIX = ".conf"
_NULL_DEVICE = os.makedev(1, 3)


@frozen()
class File:
    """A file that is read, and its content."""

    path: str
    data: bytes


def trees(scope: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the folders of configuration files, highest priority first.

    A user's agent reads the user's files and those for all users, in the order of the folders of
    user units in systemd.unit(5). It never reads the files of the system's agent, just as
    systemd --user reads user.conf and not system.conf. A variable without an absolute path is
    ignored (XDG Base Directory Specification).
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
    """Return the files in force, lowest priority first, and warnings about ignored ones.

    Raises ``ConfigError`` with the name of the file.
    """
    warnings: list[str] = []
    mains = [f"{tree}/{MAIN}" for tree in among]
    drop_ins = _drop_ins([f"{tree}/{DROP_INS}" for tree in among])
    ordered = (mains, *(drop_ins[name] for name in sorted(drop_ins)))
    found = [file for paths in ordered if (file := _first(paths, warnings))]
    return found, warnings


def _drop_ins(folders: Iterable[str]) -> dict[str, list[str]]:
    """Return the paths of each name, highest priority first.

    Hidden files are ignored, as by systemd's conf_files_list().
    """
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
    """Read the first file that exists; return ``None`` if no file exists or if it is masked."""
    for path in paths:
        try:
            data = _content(path)
        except FileNotFoundError:
            with suppress(OSError):
                warnings.append(f"{printable(path)}: broken link, ignored: {_target(path)}")
            continue
        except OSError as error:
            raise _unreadable(path, error) from error
        return File(path, data) if data else None
    return None


def _target(path: str) -> str:
    return printable(os.readlink(path))  # noqa: PTH115  # Path would normalize it


def _content(path: str) -> bytes:
    """Read a regular file; the null device, a mask, reads as empty."""
    # Checked before opening: opening another device may have an effect.
    if not _is_regular(path, os.stat(path)):  # noqa: PTH116  # like os.fstat below
        return b""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    with open(descriptor, "rb") as file:  # noqa: PTH123  # a descriptor
        data = file.read(LARGEST + 1) if _is_regular(path, os.fstat(descriptor)) else b""
    if len(data) > LARGEST:
        raise ConfigError(f"{printable(path)}: file is larger than {LARGEST // 1024} KiB")
    return data


def _is_regular(path: str, status: os.stat_result) -> bool:
    if stat.S_ISREG(status.st_mode):
        return True
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == _NULL_DEVICE:
        return False
    raise ConfigError(f"{printable(path)}: not a regular file")


def _unreadable(path: str, error: OSError) -> ConfigError:
    return ConfigError(f"{printable(path)}: cannot be read: {error.strerror or error}")
