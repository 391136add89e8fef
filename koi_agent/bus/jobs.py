"""Asks the service manager whether it stops a service for good, or starts it again at once."""

import logging
from typing import Final

from koi_agent.bus.blocking import connected
from koi_agent.bus.errors import BusLost, CallError
from koi_agent.core.text import printable

log = logging.getLogger(__name__)

PATIENCE: Final = 2.0
"""Seconds for the bus, and for the answer of the service manager."""
_MANAGER: Final = (
    "org.freedesktop.systemd1",
    "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Manager",
)


def is_restarted(unit: str, address: str) -> bool:
    """Return True if a job restarts a unit; False if the bus at ``address`` can't be asked.

    For a service that is about to end: the call blocks, for at most twice ``PATIENCE``.
    """
    try:
        with connected(address, within=PATIENCE) as bus:
            (jobs,) = bus.call(_MANAGER, "ListJobs", within=PATIENCE)
    except (BusLost, CallError, OSError) as error:  # TimeoutError is a subclass
        text = "%s: the service manager does not list its jobs: %s; this counts as a stop"
        log.info(text, unit, printable(str(error)))
        return False
    return any(name == unit and "restart" in kind for _, name, kind, *_ in jobs)
