"""The entries that the agent has sent, in a file that survives a kill of the agent.

A line is appended before an entry is sent and after it has gone, so that a change costs the same
for any number of entries. The whole file is written when it is opened, and when most of its lines
or all of them are outdated.
"""

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from koi_agent.core.text import printable
from koi_agent.host.files import replace
from koi_agent.host.koi_daemon.decisions import Bodies

log = logging.getLogger(__name__)

SPARE: Final = 1000
"""Number of lines that the file may have in addition to two for each key."""
_NONE: Bodies = frozenset()


class Intents:
    """The recorded contents by key. Changes are in the file after ``store``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._recorded = _read(path)
        self._new: list[str] = []
        self._lines = 0
        # False if the last line may be incomplete, as after a kill: then all lines are written.
        self._is_sound = False

    def all(self) -> Iterable[str]:
        """Return the keys with a recorded content."""
        return [*self._recorded]

    def of(self, key: str) -> Bodies:
        """Return the recorded contents of a key."""
        return self._recorded.get(key, _NONE)

    def record(self, key: str, bodies: Bodies) -> None:
        """Set the contents of a key; none removes it."""
        if self.of(key) == bodies:
            return
        if bodies:
            self._recorded[key] = bodies
        else:
            del self._recorded[key]
        self._new.append(_line(key, bodies))

    def store(self) -> str:
        """Write what has changed; return the reason why that is not possible, "" for none."""
        new, self._new = self._new, []
        self._lines += len(new)
        if self._is_sound and not new:
            return ""
        is_short = bool(self._recorded) and self._lines <= 2 * len(self._recorded) + SPARE
        try:
            if self._is_sound and is_short:
                self._append("".join(new))
            else:
                lines = [_line(key, bodies) for key, bodies in sorted(self._recorded.items())]
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                replace(self._path, "".join(lines), 0o600)
                self._lines = len(lines)
            self._is_sound = True
        except OSError as error:
            self._is_sound = False
            return f"{printable(str(self._path))}: {error.strerror}"
        return ""

    def _append(self, text: str) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        with os.fdopen(os.open(self._path, flags, 0o600), "a", encoding="ascii") as file:
            file.write(text)


def _line(key: str, bodies: Bodies) -> str:
    return json.dumps([key, *sorted(bodies)]) + "\n"


def _read(path: Path) -> dict[str, Bodies]:
    """Read the file; lines that are not whole or not valid are ignored."""
    found: dict[str, Bodies] = {}
    try:
        text = path.read_text("ascii", "replace")
    except OSError:
        return found
    for line in text.splitlines(keepends=True):
        try:
            words = json.loads(line) if line.endswith("\n") else None
        except (ValueError, RecursionError):
            continue
        if isinstance(words, list) and words and all(isinstance(one, str) for one in words):
            found.pop(words[0], None)
            if words[1:]:
                found[words[0]] = frozenset(words[1:])
    return found
