"""Pipes output into a pager, by the habits of systemctl: $SYSTEMD_PAGER, $PAGER, less, more."""

import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TextIO, cast

from koi_agent.cli.output import complain

LESS = "FRSXMK"
"""The options of less, as systemctl sets them; $SYSTEMD_LESS overrides them."""


class Pager:
    """A running pager; ``input`` is where its text is written."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        if process.stdin is None:
            raise AssertionError("a pager has a pipe as its input")
        self.input = cast("TextIO", process.stdin)
        self._process = process

    def wait(self) -> None:
        """Close the input, and wait until the user leaves the pager."""
        with suppress(BrokenPipeError):
            self.input.close()
        while self._process.returncode is None:
            with suppress(KeyboardInterrupt):  # Ctrl-C is for the pager
                self._process.wait()


def start(environment: Mapping[str, str]) -> Pager | None:
    """Start the first pager that is installed; return ``None`` if no pager is wanted."""
    if environment.get("TERM", "dumb") == "dumb":
        return None
    options = environment.get("SYSTEMD_LESS", LESS)
    charset = environment.get("SYSTEMD_LESSCHARSET", "utf-8")
    env = {**environment, "LESS": options, "LESSCHARSET": charset}
    for command in commands(environment):
        with suppress(FileNotFoundError, PermissionError):
            # The user chooses the command, as with systemctl.
            pipe = subprocess.PIPE
            return Pager(subprocess.Popen(command, stdin=pipe, env=env, text=True))  # noqa: S603
    return None


def commands(environment: Mapping[str, str]) -> Iterator[Sequence[str]]:
    """Yield the pagers to try, without any if the chosen one is empty or cat."""
    chosen = environment.get("SYSTEMD_PAGER", environment.get("PAGER"))
    if chosen is not None:
        try:
            words = shlex.split(chosen)
        except ValueError as error:
            complain(f"pager: malformed command: {chosen}: {error}; set SYSTEMD_PAGER")
            words = []
        if words in ([], ["cat"]):
            return
        yield words
    yield from (["less"], ["more"])
