"""Log records on every kind of standard error, from a process of their own."""

import os
import pty
import socket
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import require

TALKS = """
import logging, os, sys, time
from koi_agent.host.logs import LogOutput

with LogOutput(logging.INFO, "auto", os.environ):
    logging.info("started %s", "\\x1b[31mred\\nline")
    try:
        1 / 0
    except ZeroDivisionError:
        logging.exception("it broke")
"""
FLOODS = """
import logging, os, resource, sys
from koi_agent.host.logs import LogOutput

if user := int(sys.argv[2]):
    os.setuid(user)
with LogOutput(logging.INFO, sys.argv[1], {}):
    for number in range(10_000):
        logging.info("%d %s", number, "x" * 100)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw, flush=True)
    sys.stdin.readline()
    logging.info("the end")
"""
MOST_WAITS = 1000
"""Times that the program may give the processor up while it writes ten thousand records."""
NOBODY = 65534
MESSAGE = "started \\x1b[31mred\\x0aline\n"


def start(program: str, stderr: int, *arguments: str, stream: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env=os.environ | {"JOURNAL_STREAM": stream},
    )


def run(program: str, stderr: int) -> None:
    """Run a program and check that it succeeds."""
    with start(program, stderr) as process:
        process.communicate(timeout=60)
    assert process.returncode == 0


def read(descriptor: int) -> str:
    """Return all bytes until every writer has closed the descriptor."""
    with os.fdopen(descriptor, encoding="utf-8") as lines:
        return lines.read()


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """A pseudoterminal: the end that shows text, and the end that is written to."""
    ends = pty.openpty()
    yield ends
    for end in ends:
        os.close(end)


def test_program_gets_a_level_before_each_line() -> None:
    reader, writer = os.pipe()
    run(TALKS, writer)
    os.close(writer)
    shown = read(reader)
    first, second, *trace = shown.splitlines(keepends=True)
    assert (first, second) == ("<6>" + MESSAGE, "<3>it broke\n")
    assert trace[0] == "<3>Traceback (most recent call last):\n"
    assert trace[-1] == "<3>ZeroDivisionError: division by zero\n"


def test_terminal_gets_plain_lines(terminal: tuple[int, int]) -> None:
    shows, writes = terminal
    run(TALKS, writes)
    shown = b""
    while not shown.endswith(b"by zero\r\n"):  # it comes in several parts
        shown += os.read(shows, 65536)
    assert shown.decode().replace("\r\n", "\n").startswith(MESSAGE + "it broke\nTraceback")


def test_records_are_appended_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    with path.open("a") as file:
        run(TALKS, file.fileno())
    assert path.read_text().startswith("before\n<6>" + MESSAGE)


def test_stream_socket_gets_all_records() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        run(TALKS, theirs.fileno())
        theirs.close()
        with ours.makefile() as lines:
            assert lines.read().startswith("<6>" + MESSAGE)


def test_without_standard_error_records_are_discarded() -> None:
    command = [sys.executable, "-c", TALKS]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", *command], check=True, capture_output=True
    )
    assert done.stdout == b""


def pipe() -> tuple[int, int]:
    return os.pipe()


def stream() -> tuple[int, int]:
    reader, writer = socket.socketpair()
    return reader.detach(), writer.detach()


@pytest.mark.parametrize(
    ("make", "target", "user"), [(pipe, "auto", 0), (pipe, "console", NOBODY), (stream, "auto", 0)]
)
def test_reader_that_does_not_read_blocks_neither_the_agent_nor_other_writers(
    make: Callable[[], tuple[int, int]], target: str, user: int
) -> None:
    if user and os.geteuid() != 0:
        require("root", "another user's pipe needs setuid")
    reader, writer = make()
    with start(FLOODS, writer, target, str(user)) as process:
        assert process.stdout
        assert process.stdin
        assert int(process.stdout.readline()) < MOST_WAITS
        assert os.get_blocking(writer)
        os.close(writer)
        process.stdin.close()  # it goes on
        shown = read(reader).splitlines()
    count = 10_001
    if shown[-1].endswith("the end"):  # it was written after the reader had begun
        shown.pop()
        count = 10_000
    *kept, loss = shown
    numbers = [int(line.removeprefix("<6>").split()[0]) for line in kept]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= 2000
    assert loss == f"<4>{count - len(numbers)} log records lost: they were not read in time"


def test_stopped_terminal_blocks_nothing(terminal: tuple[int, int]) -> None:
    shows, writes = terminal
    termios.tcflow(writes, termios.TCOOFF)
    with start(FLOODS, writes, "auto", "0") as process:
        assert process.stdout
        assert process.stdin
        assert int(process.stdout.readline()) < MOST_WAITS
        assert os.get_blocking(writes)
        process.stdin.close()
    assert process.returncode == 0
    os.set_blocking(shows, False)
    with suppress(BlockingIOError):
        assert not os.read(shows, 100)


def test_reader_that_is_gone_blocks_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    run(TALKS, writer)
    os.close(writer)


@pytest.mark.parametrize("stream", ["", "x", "1:2"])
def test_stream_of_another_journal_gets_prefixed_lines(stream: str) -> None:
    reader, writer = os.pipe()
    with start(TALKS, writer, stream=stream) as process:
        process.communicate(timeout=60)
    os.close(writer)
    assert read(reader).startswith("<6>" + MESSAGE)
