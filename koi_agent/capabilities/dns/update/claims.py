"""The nodes that this agent has claimed, in a file: a killed agent finds them again.

A line is appended before a node is claimed and after it was dropped, so that a change costs the
same for any number of nodes. Lines that no longer count are left out when it is opened.
"""

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from koi_agent.capabilities.dns.update.settings import UpdateSettings
from koi_agent.core.text import printable
from koi_agent.host.files import replace
from koi_agent.host.state import state_directory

log = logging.getLogger(__name__)

CLAIMED: Final = "+"
DROPPED: Final = "-"


def claims_file(settings: UpdateSettings, environment: Mapping[str, str]) -> Path:
    """Return the path of the file for a server and a zone."""
    where = hashlib.sha256(f"{settings.server} {settings.zone}".encode()).hexdigest()[:16]
    return state_directory(settings.scope, environment) / f"dns-update-{where}"


class Claims:
    """The claimed nodes, each with the names of the PTR records that lead to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pointers = _read(path)
        self._is_reported = False

    def open(self) -> None:
        """Write the whole file without the nodes that were dropped."""
        text = "".join(_line(node, names) for node, names in sorted(self._pointers.items()))
        with self._reported():
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace(self._path, text, 0o600)

    def all(self) -> Iterable[str]:
        """Return the claimed nodes."""
        return [*self._pointers]

    def pointers(self, node: str) -> frozenset[str]:
        """Return the names of the PTR records that may lead to a node."""
        return self._pointers.get(node, frozenset())

    def claim(self, node: str, pointers: Iterable[str]) -> None:
        """Store that a node is about to be claimed, or to get other pointers."""
        names = frozenset(pointers)
        if self._pointers.get(node) != names:
            self._pointers[node] = names
            self._append(_line(node, names))

    def drop(self, node: str) -> None:
        """Store that a node was dropped."""
        if self._pointers.pop(node, None) is not None:
            self._append(f"{DROPPED} {node}\n")

    def _append(self, line: str) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        with self._reported(), os.fdopen(os.open(self._path, flags, 0o600), "a") as file:
            file.write(line)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Log the first error: without the file, names of a killed agent may stay."""
        try:
            yield
        except OSError as error:
            if not self._is_reported:
                text = "%s: DNS names that the agent sends can't be stored: %s"
                log.warning(text, printable(str(self._path)), error.strerror)
            self._is_reported = True


def _line(node: str, pointers: Iterable[str]) -> str:
    return " ".join((CLAIMED, node, *sorted(pointers))) + "\n"


def _read(path: Path) -> dict[str, frozenset[str]]:
    """Read the file; lines that are not whole are ignored."""
    found: dict[str, frozenset[str]] = {}
    try:
        text = path.read_text("ascii", "replace")
    except OSError:
        return found
    for line in text.splitlines(keepends=True):
        match line.split() if line.endswith("\n") else ():
            case [verb, node, *pointers] if verb == CLAIMED:
                found[node] = frozenset(pointers)
            case [verb, node] if verb == DROPPED:
                found.pop(node, None)
    return found
