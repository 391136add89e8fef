"""The names that this agent has claimed on a server, in a file that survives a kill of the agent.

A line is appended before a name is claimed and after it was dropped, so that a change costs the
same for any number of names. The whole file is written when it is opened, and when most of its
lines are outdated.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from koi_agent.core.text import printable
from koi_agent.host.files import replace
from koi_agent.host.state import state_directory

log = logging.getLogger(__name__)

CLAIMED: Final = "+"
DROPPED: Final = "-"
SPARE: Final = 1000
"""Number of lines that the file may have in addition to two for each name."""


def claims_file(outlet: str, server: str, scope: str, environment: Mapping[str, str]) -> Path:
    """Return the path of the file of an outlet for one server."""
    where = hashlib.sha256(server.encode()).hexdigest()[:16]
    return state_directory(scope, environment) / f"dns-{outlet}-{where}"


class Claims:
    """The claimed names, each with details: words about what the agent has sent.

    ``is_valid`` checks the words of a line, the name first. Changes are in the file after
    ``store``.
    """

    def __init__(self, path: Path, is_valid: Callable[[Sequence[str]], bool]) -> None:
        self._path = path
        self._details = _read(path, is_valid)
        self._new: list[str] = []
        self._lines = 0
        # False if the last line may be incomplete, as after a kill: then all lines are written.
        self._is_sound = self._is_reported = False

    def all(self) -> Iterable[str]:
        """Return the claimed names."""
        return [*self._details]

    def details(self, name: str) -> frozenset[str]:
        """Return the details of a name, none if it is not claimed."""
        return self._details.get(name, frozenset())

    def has(self, name: str) -> bool:
        """Return True if a name is claimed."""
        return name in self._details

    def claim(self, name: str, details: Iterable[str]) -> None:
        """Add a name that is about to be claimed, or that is about to get different details."""
        words = frozenset(details)
        if self._details.get(name) != words:
            self._details[name] = words
            self._new.append(_line(name, words))

    def drop(self, name: str) -> None:
        """Remove a name that was dropped."""
        if self._details.pop(name, None) is not None:
            self._new.append(f"{DROPPED} {name}\n")

    def store(self) -> None:
        """Write what has changed.

        The first of successive errors is logged: without the file, names of a killed agent may
        stay.
        """
        new, self._new = self._new, []
        self._lines += len(new)
        is_short = self._lines <= 2 * len(self._details) + SPARE
        if self._is_sound and is_short and not new:
            return
        try:
            if not (self._is_sound and is_short):
                lines = [_line(name, words) for name, words in sorted(self._details.items())]
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


def _line(name: str, details: Iterable[str]) -> str:
    return " ".join((CLAIMED, name, *sorted(details))) + "\n"


def _read(path: Path, is_valid: Callable[[Sequence[str]], bool]) -> dict[str, frozenset[str]]:
    """Read the file; lines that are not whole or not valid are ignored."""
    found: dict[str, frozenset[str]] = {}
    try:
        text = path.read_text("ascii", "replace")
    except OSError:
        return found
    for line in text.splitlines(keepends=True):
        verb, *words = line.lower().split() if line.endswith("\n") and line.strip() else ("",)
        if not words or not is_valid(words):
            continue
        if verb == CLAIMED:
            found[words[0]] = frozenset(words[1:])
        elif verb == DROPPED:
            found.pop(words[0], None)
    return found
