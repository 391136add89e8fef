"""The process of an agent: signals, exit codes, and the last status for systemd."""

import asyncio
import errno
import gc
import logging
import os
import signal
from contextlib import closing
from dataclasses import dataclass
from typing import Final, Never

from koi_agent.agent import Agent, Load, NoBus, log_warnings
from koi_agent.config import Loaded
from koi_agent.core.errors import ConfigError, ungrouped
from koi_agent.host.logs import LogOutput
from koi_agent.host.notify import Notifier
from koi_agent.host.sockets import NoSocket
from koi_agent.publishers.dbus.errors import NameRefused, NameTaken
from koi_agent.publishers.http.sockets import HTTPSockets

log = logging.getLogger(__name__)

GC_THRESHOLDS: Final = 1_000, 2_000, 5
"""Thresholds of Python's garbage collector: young collections are short, others are rare.

During a collection no request is answered. With 10 000 instances, one of 20 000 young objects takes
up to 50 ms, and a full one 150 ms. Tracked instances and inspections form no cycles.
"""


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of an agent, as reported to systemd: exit code, errno, D-Bus error."""

    code: int
    errno: int = 0
    bus_error: str = ""


BUS_ERROR: Final = "org.freedesktop.DBus.Error."
ENDINGS: Final[dict[type[Exception], Ending]] = {
    NameTaken: Ending(os.EX_TEMPFAIL, bus_error=BUS_ERROR + "AddressInUse"),
    NameRefused: Ending(os.EX_NOPERM, bus_error=BUS_ERROR + "AccessDenied"),
    NoBus: Ending(os.EX_UNAVAILABLE, bus_error=BUS_ERROR + "NoServer"),
    NoSocket: Ending(os.EX_TEMPFAIL, errno=errno.EADDRINUSE),
    ConfigError: Ending(os.EX_CONFIG, errno=errno.EINVAL),
}
"""The errors that end an agent, and their exit codes (sysexits.h)."""


def run(load: Load, loaded: Loaded) -> int:
    """Run an agent in the foreground; return its exit code."""
    gc.set_threshold(*GC_THRESHOLDS)
    with LogOutput(loaded.config.log_level, "auto", os.environ) as output:
        log_warnings(loaded)
        return asyncio.run(_serve(load, loaded, output))


async def _serve(load: Load, loaded: Loaded, output: LogOutput) -> int:
    """Run an agent until SIGTERM or SIGINT; return its exit code."""
    by_hand = "NOTIFY_SOCKET" not in os.environ
    notifier = Notifier(os.environ)
    try:
        with closing(HTTPSockets(loaded.config, os.environ, by_hand=by_hand)) as sockets:
            await _run(Agent(load, loaded, sockets, notifier, output))
    except asyncio.CancelledError:
        log.info("stopped")
    except tuple(ENDINGS) as error:
        log.error("%s", error)  # noqa: TRY400 - a problem of the host, no bug
        ending = next(ending for kind, ending in ENDINGS.items() if isinstance(error, kind))
        notifier.failed(str(error), errno=ending.errno, bus_error=ending.bus_error)
        return ending.code
    finally:
        notifier.close()
    return 0


async def _run(agent: Agent) -> Never:
    """Run an agent with its signal handlers; raise the error that ends it."""
    loop, running = asyncio.get_running_loop(), asyncio.current_task()
    loop.add_signal_handler(signal.SIGHUP, agent.hung_up.set)
    for number in (signal.SIGTERM, signal.SIGINT):
        if running:
            loop.add_signal_handler(number, running.cancel)
    with ungrouped(*ENDINGS):
        await agent.run()
    raise AssertionError("an agent runs until it is cancelled")
