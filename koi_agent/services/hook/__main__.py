"""``koi-runtime-hook``: the hook of systemd-resolved, on the socket that systemd passes."""

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from koi_agent.core.errors import ConfigError
from koi_agent.host.descriptors import Manager, received
from koi_agent.host.stderr_log import logging_to_stderr
from koi_agent.services.hook.file import RecordsFile
from koi_agent.services.hook.server import Server
from koi_agent.services.hook.store import QUEUE, Store

log = logging.getLogger(__name__)

FILE: Final = "/run/koi-runtime/dns/hook.json"
UNIT: Final = "koi-runtime-hook.service"
LISTENER: Final = "hook"
IDLE: Final = 3600.0
"""Seconds between two checks of the file if the service manager expects no watchdog pings."""
USAGE: Final = """\
usage: koi-runtime-hook [FILE]

Answer systemd-resolved for the names of instances, which koi-runtime writes into FILE.
The socket to serve on comes from systemd: koi-runtime-hook.socket.
"""


def _sockets(environment: MutableMapping[str, str]) -> tuple[socket.socket, list[socket.socket]]:
    """Return the socket to listen on, and the queue of the previous process."""
    listening: list[socket.socket] = []
    queue: list[socket.socket] = []
    for name, descriptor in received(environment):
        if name in (LISTENER, QUEUE):
            kept = listening if name == LISTENER else queue
            kept.append(socket.socket(fileno=descriptor))
        else:
            os.close(descriptor)
    if len(listening) != 1:
        raise ConfigError("no socket from systemd; start koi-runtime-hook.socket instead")
    listening[0].settimeout(0)
    return listening[0], queue


def _period(environment: MutableMapping[str, str]) -> float:
    """Return the seconds between two watchdog pings, ``IDLE`` if none is expected."""
    period = environment.pop("WATCHDOG_USEC", "")
    environment.pop("WATCHDOG_PID", None)
    is_number = period.isascii() and period.isdigit() and 0 < len(period) <= 16
    return min(int(period) / 2e6, IDLE) if is_number else IDLE


@contextmanager
def _signals() -> Iterator[int]:
    """Yield a descriptor that becomes readable with a signal to stop."""
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(-1)
        os.close(reading)
        os.close(writing)


def _serve(path: str) -> None:
    """Serve until SIGTERM or SIGINT."""
    environment = os.environ
    manager, period = Manager(environment), _period(environment)
    listener, queue = _sockets(environment)
    file = RecordsFile(Path(path))
    with _signals() as stop, closing(Store(manager, queue)) as store:
        server = Server(listener, file, manager, store)
        server.start([stop])
        due = time.monotonic()
        while not _is_readable(stop):
            if (now := time.monotonic()) >= due:
                manager.send({"WATCHDOG": "1"})
                due = now + period
            server.step(due - now if due > now else 0)
        manager.send({"STOPPING": "1"})
        if not _is_restarted():
            server.release()


def _is_restarted() -> bool:
    # These modules are needed only at the end, and the start must be fast.
    from koi_agent.bus.address import address  # noqa: PLC0415
    from koi_agent.bus.jobs import is_restarted  # noqa: PLC0415

    return is_restarted(UNIT, address("system"))


def _is_readable(descriptor: int) -> bool:
    try:
        return bool(os.read(descriptor, 64))
    except BlockingIOError:
        return False


def execute(argv: Sequence[str]) -> int:
    """Serve until SIGTERM; return the exit code."""
    if len(argv) > 1 or argv[:1] in (["-h"], ["--help"]):
        sys.stderr.write(USAGE)
        return os.EX_USAGE
    with logging_to_stderr():
        try:
            _serve(argv[0] if argv else FILE)
        except ConfigError as error:
            log.error("%s", error)  # noqa: TRY400 - the administrator's, not a bug
            return os.EX_CONFIG
    return 0


def main() -> None:
    sys.exit(execute(sys.argv[1:]))


if __name__ == "__main__":
    main()
