"""Reads the files of units: systemd does not show ``X-`` keys on D-Bus.

``FragmentPath`` comes first, then ``DropInPaths`` in the order that systemd gives them, which
includes type-level, template and dash-prefix drop-ins. If a file can't be read, its unit has no
metadata.
"""

import os
import time
from collections import OrderedDict
from collections.abc import Sequence

from koi_agent.backends.systemd.file_contents import read_file
from koi_agent.backends.systemd.merged_file import (
    Specifiers,
    UnitFile,
    UsedFile,
    merged,
    used_contents,
)
from koi_agent.core.errors import BadInput
from koi_agent.core.text import printable

# Timestamps are as coarse as the kernel's tick: a file may change twice within one.
_SETTLED_NS = 100_000_000


class UnitFileReader:
    """Reads unit files, and caches them by their status: a known file costs one stat."""

    def __init__(self, specifiers: Specifiers, *, limit: int = 4096) -> None:
        """Start empty; of more than ``limit`` files the least recently used is dropped.

        ``specifiers`` are those that are the same for all units, by their letter.
        """
        self._specifiers = specifiers
        self._limit = limit
        self._cache: OrderedDict[str, tuple[tuple[int, ...], UsedFile]] = OrderedDict()

    def read(self, name: str, fragment: str, drop_ins: Sequence[str] = ()) -> UnitFile:
        """Return what the files of a unit contain; an empty path is skipped."""
        files: list[UsedFile] = []
        problems: list[str] = []
        for path in filter(None, (fragment, *drop_ins)):
            try:
                files.append(self._read(path))
            except BadInput as error:
                problems.append(f"{printable(path)}: {error}; {name} gets no metadata from files")
        return merged(name, files, problems, {**self._specifiers, **self._of(name, fragment)})

    def _of(self, name: str, fragment: str) -> Specifiers:
        """Return the specifiers of one unit that do not follow from its name alone."""
        runtime = self._specifiers["t"]() if "t" in self._specifiers else None
        return {
            "d": lambda: runtime and f"{runtime}/credentials/{name}",
            "y": lambda: fragment or None,
            "Y": lambda: fragment.rpartition("/")[0] or None,
        }

    def _read(self, path: str) -> UsedFile:
        try:
            status = os.stat(path)  # noqa: PTH116  # Path.stat takes three times as long
            cached = self._cache.get(path)
            if cached is not None and cached[0] == _signature(status):
                self._cache.move_to_end(path)
                return cached[1]
            data, status = read_file(path, status)
        except OSError as error:
            raise BadInput(f"can't be read: {error.strerror or error}") from error
        except ValueError as error:
            raise BadInput("not a path") from error
        file = used_contents(path, data)
        self._store(path, status, file)
        return file

    def _store(self, path: str, status: os.stat_result, file: UsedFile) -> None:
        self._cache.pop(path, None)
        if time.time_ns() - status.st_ctime_ns > _SETTLED_NS:
            self._cache[path] = (_signature(status), file)
        while len(self._cache) > self._limit:
            self._cache.popitem(last=False)


def _signature(status: os.stat_result) -> tuple[int, ...]:
    """Return what changes when a file does; a chmod changes the ctime."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
