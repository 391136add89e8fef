"""The door for programs that the agent starts: without a shell or input, and with bounds.

A program has the user and the sandbox of the agent, and none of its open files. It is the leader of
a process group, which is killed when the program has ended, or has not ended in time.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial
from typing import IO, Final

from koi_agent.core.errors import KoiError
from koi_agent.core.frozen import frozen
from koi_agent.host.uninterrupted import uninterrupted
from koi_agent.timeouts import timeout

MAX_ERRORS: Final = 4096
"""Bytes at the end of standard error that are kept."""
_PATIENCE: Final = 5.0
"""Seconds for a killed program to end."""
_AGENT_ONLY: Final = (
    *("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_FDNAMES"),
    *("LISTEN_PID", "INVOCATION_ID", "JOURNAL_STREAM", "MAINPID"),
)
"""Variables by which systemd speaks with the agent itself (systemd.exec(5))."""


class ProgramFailed(KoiError):
    """A program that did not start, or has no usable result; the text is the reason."""


@frozen(kw_only=True)
class Result:
    """Status and outputs of a program that has ended; ``status`` is negative for a signal."""

    status: int
    output: bytes
    errors: bytes


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a program gets from the environment of the agent."""
    return {
        name: value
        for name, value in environment.items()
        if name not in _AGENT_ONLY and not name.startswith("KOI_")
    }


async def run(
    command: Sequence[str], environment: Mapping[str, str], *, seconds: float, most: int
) -> Result:
    """Run a program until it ends, and return its result; raise ``ProgramFailed``.

    Its output is at most ``most`` bytes long. ``command`` begins with the path of the program. A
    second cancellation waits too until the program has been killed.
    """
    work = partial(_outcome, command, environment, seconds=seconds, most=most)
    result = await uninterrupted(work, f"program {command[0]}")
    if isinstance(result, ProgramFailed):
        raise result
    return result


async def _outcome(
    command: Sequence[str], environment: Mapping[str, str], *, seconds: float, most: int
) -> Result | ProgramFailed:
    """Run a program; return its result, or the error, as ``uninterrupted`` needs it."""
    try:
        return await _run(command, environment, seconds=seconds, most=most)
    except ProgramFailed as failed:
        return failed


async def _run(
    command: Sequence[str], environment: Mapping[str, str], *, seconds: float, most: int
) -> Result:
    process = _started(command, environment)
    output, errors = _Pipe(most, is_whole=True), _Pipe(MAX_ERRORS, is_whole=False)
    try:
        async with timeout(seconds), _connected(process, output, errors):
            await output.closed
            await errors.closed
            await _wait_for_end(process)
    except TimeoutError:
        raise ProgramFailed(f"no result within {seconds:g} s") from None
    finally:
        await _kill(process)
    return Result(
        status=process.returncode or 0, output=bytes(output.data), errors=bytes(errors.data)
    )


def _started(command: Sequence[str], environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """Start a program at once: if a task is cancelled while it starts, its PID is known."""
    try:
        return subprocess.Popen(  # noqa: S603 - a program that the administrator has named
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise ProgramFailed(f"it can't be started: {error.strerror}") from error
    except ValueError as error:  # a NUL in an argument or a variable
        raise ProgramFailed("it can't be started: its command is not valid") from error


@asynccontextmanager
async def _connected(
    process: "subprocess.Popen[bytes]", output: "_Pipe", errors: "_Pipe"
) -> AsyncIterator[None]:
    """Read both outputs of a program."""
    with ExitStack() as stack:
        await _connect(output, process.stdout, stack)
        await _connect(errors, process.stderr, stack)
        yield


async def _connect(pipe: "_Pipe", file: IO[bytes] | None, stack: ExitStack) -> None:
    if file is None:
        raise AssertionError("both outputs of a program are pipes")
    stack.callback(file.close)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: pipe, file)
    stack.callback(transport.close)


async def _wait_for_end(process: "subprocess.Popen[bytes]") -> None:
    """Wait until a program has ended; it keeps its PID until ``_kill``."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    file = os.pidfd_open(process.pid)
    loop.add_reader(file, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(file)
        os.close(file)


async def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill what is left of a program and its children, but for those that have left its group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        async with timeout(_PATIENCE):
            await _wait_for_end(process)
    process.poll()


class _Pipe(asyncio.Protocol):
    """Collects what a program writes; ``closed`` is done at the end.

    If it ``is_whole``, more than ``most`` bytes are an error; else the last ones are kept.
    """

    def __init__(self, most: int, *, is_whole: bool) -> None:
        self.data = bytearray()
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._most = most
        self._is_whole = is_whole

    def data_received(self, data: bytes) -> None:
        self.data += data
        if len(self.data) <= self._most:
            return
        del self.data[: -self._most]
        if self._is_whole and not self.closed.done():
            self.closed.set_exception(
                ProgramFailed(f"its output is longer than {self._most} bytes")
            )

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
