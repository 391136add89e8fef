"""Writes to standard output and standard error.

Callers make foreign text printable; JSON is escaped here.
"""

import os
import sys
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TextIO

from koi_agent.core.errors import KoiError
from koi_agent.core.text import printable

if TYPE_CHECKING:
    from koi_agent.cli.pager import Pager

FALSE = ("0", "no", "n", "false", "f", "off")


class ReaderGone(KoiError):
    """The reader has closed the pipe, as ``head`` does: the command ends without an error."""


class Unwritable(KoiError):
    """The output cannot be written."""


class Style(StrEnum):
    """The escape sequence of a piece of text, as systemd's tools use it."""

    PLAIN = ""
    GOOD = "\x1b[0;1;32m"
    WARNING = "\x1b[0;1;38;5;185m"
    BAD = "\x1b[0;1;31m"
    GREY = "\x1b[0;38;5;245m"
    HEADER = "\x1b[0;4m"


END = "\x1b[0m"


class Output:
    """The output of a command; ``mode`` is the value of ``--json``.

    With ``paged``, a terminal shows the output in a pager, which starts with the first line.
    """

    def __init__(self, *, mode: str = "off", legend: bool = True, paged: bool = False) -> None:
        self.mode = mode
        self.legend = legend
        self._stream = _usable(sys.stdout)
        self.terminal = self._stream.isatty()
        self._coloured = coloured(os.environ, terminal=self.terminal)
        self._paged = paged and self.terminal
        self._pager: Pager | None = None
        self.dot = "●" if self._stream.encoding.lower().startswith("utf") else "*"

    @property
    def width(self) -> int:
        """The columns of the terminal; 0 means no limit."""
        if not self.terminal:
            return 0
        import shutil  # noqa: PLC0415 - only a terminal needs it

        return shutil.get_terminal_size().columns

    def styled(self, text: str, style: Style) -> str:
        return f"{style}{text}{END}" if self._coloured and style and text else text

    def write(self, text: str) -> None:
        """Write text and a newline."""
        if self._paged:
            self._start_pager()
        try:
            self._stream.write(text + "\n")
        except OSError as error:
            raise self._failure(error) from error

    def write_blocks(self, blocks: Iterable[str]) -> None:
        """Write blocks of lines, separated by empty lines."""
        if text := "\n\n".join(blocks):
            self.write(text)

    def flush(self) -> None:
        """Write what is buffered, and wait for the user to leave the pager.

        Raises ``ReaderGone`` or ``Unwritable``.
        """
        try:
            self._stream.flush()
        except OSError as error:
            raise self._failure(error) from error
        finally:
            if self._pager:
                self._pager.wait()
                self._pager, self._stream = None, _usable(sys.stdout)

    def _start_pager(self) -> None:
        from koi_agent.cli import pager  # noqa: PLC0415 - only a terminal needs it

        self._paged = False
        if started := pager.start(os.environ, complain):
            self._pager, self._stream = started, _usable(started.input)

    def json(self, value: Any) -> None:
        """Write a value as ASCII JSON: on one line, or indented if the mode is ``pretty``."""
        import json  # noqa: PLC0415 - text is written faster without it

        pretty = self.mode == "pretty"
        separators = (",", ": " if pretty else ":")
        self.write(json.dumps(value, indent=2 if pretty else None, separators=separators))

    def _failure(self, error: OSError) -> KoiError:
        """Return the error for a failed write."""
        # What is still buffered must not fail again when Python exits.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        if isinstance(error, BrokenPipeError):
            return ReaderGone("standard output: closed by the reader")
        return Unwritable(f"standard output: cannot be written: {error.strerror}")


def complain(text: str) -> None:
    """Write one line to standard error, if it is open; control characters are escaped."""
    if sys.stderr:
        sys.stderr.write(f"koi-runtime: {printable(text)}\n")
        sys.stderr.flush()


def coloured(environment: Mapping[str, str], *, terminal: bool) -> bool:
    """Return whether to use colours: by SYSTEMD_COLORS, then NO_COLOR, then the terminal."""
    if asked := environment.get("SYSTEMD_COLORS"):
        return asked.lower() not in FALSE
    if environment.get("NO_COLOR"):
        return False
    return terminal and environment.get("TERM") != "dumb"


def _usable(stream: TextIO | None) -> TextIO:
    """Return a stream that is open and escapes what its encoding lacks."""
    if stream is None:
        return os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
    if reconfigure := getattr(stream, "reconfigure", None):
        reconfigure(errors="backslashreplace")
    return stream
