"""The nodes that this agent has claimed, in a file: a killed agent finds them again.

A line is appended before a node is claimed and after it was dropped, so that a change costs the
same for any number of nodes. The whole file is written when it is opened, and when most of its
lines no longer count.
"""

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from koi_agent.capabilities.dns.update.messages import is_name
from koi_agent.capabilities.dns.update.settings import UpdateSettings
from koi_agent.core.text import printable
from koi_agent.host.files import replace
from koi_agent.host.state import state_directory

log = logging.getLogger(__name__)

CLAIMED: Final = "+"
DROPPED: Final = "-"
SPARE: Final = 1000
"""Lines that the file may have beyond two for each node."""


def claims_file(settings: UpdateSettings, environment: Mapping[str, str]) -> Path:
    """Return the path of the file for a server and a zone."""
    where = hashlib.sha256(f"{settings.server} {settings.zone}".encode()).hexdigest()[:16]
    return state_directory(settings.scope, environment) / f"dns-update-{where}"


class Claims:
    """The claimed nodes in ``zone``, each with the names of the PTR records that lead to it.

    Changes are in the file after ``store``.
    """

    def __init__(self, path: Path, zone: str) -> None:
        self._path = path
        self._pointers = _read(path, zone)
        self._new: list[str] = []
        self._lines = 0
        # False if the last line may not be whole, as after a kill: the next write is of all lines.
        self._is_sound = self._is_reported = False

    def all(self) -> Iterable[str]:
        """Return the claimed nodes."""
        return [*self._pointers]

    def pointers(self, node: str) -> frozenset[str]:
        """Return the names of the PTR records that may lead to a node."""
        return self._pointers.get(node, frozenset())

    def has(self, node: str) -> bool:
        """Return True if a node is claimed."""
        return node in self._pointers

    def claim(self, node: str, pointers: Iterable[str]) -> None:
        """Add a node that is about to be claimed, or to get other pointers."""
        names = frozenset(pointers)
        if self._pointers.get(node) != names:
            self._pointers[node] = names
            self._new.append(_line(node, names))

    def drop(self, node: str) -> None:
        """Remove a node that was dropped."""
        if self._pointers.pop(node, None) is not None:
            self._new.append(f"{DROPPED} {node}\n")

    def store(self) -> None:
        """Write what has changed.

        The first error in a row is logged: without the file, names of a killed agent may stay.
        """
        new, self._new = self._new, []
        self._lines += len(new)
        is_short = self._lines <= 2 * len(self._pointers) + SPARE
        if self._is_sound and is_short and not new:
            return
        try:
            if not (self._is_sound and is_short):
                lines = [_line(node, names) for node, names in sorted(self._pointers.items())]
                self._replace("".join(lines))
                self._lines = len(lines)
            else:
                self._append("".join(new))
            self._is_sound, self._is_reported = True, False
        except OSError as error:
            self._is_sound = False
            if not self._is_reported:
                text = "%s: DNS names that the agent sends can't be stored: %s"
                log.warning(text, printable(str(self._path)), error.strerror)
            self._is_reported = True

    def _replace(self, text: str) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace(self._path, text, 0o600)

    def _append(self, text: str) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        with os.fdopen(os.open(self._path, flags, 0o600), "a", encoding="ascii") as file:
            file.write(text)


def _line(node: str, pointers: Iterable[str]) -> str:
    return " ".join((CLAIMED, node, *sorted(pointers))) + "\n"


def _read(path: Path, zone: str) -> dict[str, frozenset[str]]:
    """Read the file; lines that are not whole, or not of names in the zone, are ignored."""
    found: dict[str, frozenset[str]] = {}
    try:
        text = path.read_text("ascii", "replace")
    except OSError:
        return found
    for line in text.splitlines(keepends=True):
        verb, *names = line.split() if line.endswith("\n") and line.strip() else ("",)
        if not names or not all(is_name(one) and one.endswith(f".{zone}.") for one in names):
            continue
        if verb == CLAIMED:
            found[names[0]] = frozenset(names[1:])
        elif verb == DROPPED:
            found.pop(names[0], None)
    return found
