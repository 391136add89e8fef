"""The one place that writes to the terminal, and knows whether it is one.

Text from elsewhere is made printable before it comes here; JSON escapes by itself.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, TextIO

from koi_agent.core.errors import KoiError
from koi_agent.core.text import printable

FALSE = ("0", "no", "n", "false", "f", "off")


class ReaderGone(KoiError):
    """Nobody reads our output any more: no trouble, but the end."""


class Unwritable(KoiError):
    """Our output can't be written."""


class Style(StrEnum):
    """How a piece of text stands out on a terminal, as systemd's own tools have it."""

    PLAIN = ""
    GOOD = "\x1b[0;1;32m"
    WARNING = "\x1b[0;1;38;5;185m"
    BAD = "\x1b[0;1;31m"
    GREY = "\x1b[0;38;5;245m"
    HEADER = "\x1b[0;4m"


END = "\x1b[0m"


class Output:
    """Where a command writes; ``mode`` is that of ``--json``."""

    def __init__(self, *, mode: str = "off", legend: bool = True) -> None:
        self.mode = mode
        self.legend = legend
        self._to = _usable(sys.stdout)
        self.terminal = self._to.isatty()
        self._coloured = coloured(os.environ, terminal=self.terminal)
        self.dot = "●" if self._to.encoding.lower().startswith("utf") else "*"

    @property
    def width(self) -> int:
        """Tell the columns a line may have; 0 is as many as it takes."""
        return shutil.get_terminal_size().columns if self.terminal else 0

    def styled(self, text: str, style: Style) -> str:
        return f"{style}{text}{END}" if self._coloured and style and text else text

    def write(self, text: str) -> None:
        """Write text and a line's end."""
        try:
            self._to.write(text + "\n")
        except OSError as error:
            raise self._gone(error) from error

    def write_blocks(self, blocks: Iterable[str]) -> None:
        """Write blocks of lines, with an empty one between two."""
        if text := "\n\n".join(blocks):
            self.write(text)

    def flush(self) -> None:
        """Have it all written; raises ``ReaderGone`` or ``Unwritable``."""
        try:
            self._to.flush()
        except OSError as error:
            raise self._gone(error) from error

    def json(self, value: Any) -> None:
        """Write a value as JSON, all but ASCII escaped: on one line, or ``pretty``."""
        pretty = self.mode == "pretty"
        separators = (",", ": " if pretty else ":")
        self.write(json.dumps(value, indent=2 if pretty else None, separators=separators))

    def _gone(self, error: OSError) -> KoiError:
        """Say what became of the output; what is buffered must not fail again at exit."""
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), self._to.fileno())
        if isinstance(error, BrokenPipeError):
            return ReaderGone("nobody reads the output")
        return Unwritable(f"can't write the output: {error.strerror}")


def complain(text: str) -> None:
    """Write a line to stderr, if there is one; whatever is in it, it is one line."""
    if sys.stderr:
        sys.stderr.write(f"koi-runtime: {printable(text)}\n")
        sys.stderr.flush()


def coloured(environment: Mapping[str, str], *, terminal: bool) -> bool:
    """Decide on colours as systemd does: what it is told, NO_COLOR, and then the terminal."""
    if asked := environment.get("SYSTEMD_COLORS"):
        return asked.lower() not in FALSE
    if environment.get("NO_COLOR"):
        return False
    return terminal and environment.get("TERM") != "dumb"


def _usable(stream: TextIO | None) -> TextIO:
    """Make sure that there is a stream, and that it never fails on a character."""
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    if reconfigure := getattr(stream, "reconfigure", None):
        reconfigure(errors="backslashreplace")
    return stream
