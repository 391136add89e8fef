"""Finds out whether the service manager stops this service, or restarts it."""

import logging
from typing import Final

log = logging.getLogger(__name__)

UNIT: Final = "koi-runtime-hook.service"
_MANAGER: Final = (
    "org.freedesktop.systemd1",
    "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Manager",
)
PATIENCE: Final = 3.0
"""Seconds for the answer of the service manager."""


def is_restarted() -> bool:
    """Return True if a job restarts this service; False if it can't be known."""
    # Needed at the end only: the start must be fast.
    from koi_agent.bus.address import address  # noqa: PLC0415
    from koi_agent.bus.blocking import connected  # noqa: PLC0415
    from koi_agent.bus.errors import BusLost, CallError  # noqa: PLC0415

    try:
        with connected(address("system"), within=PATIENCE) as bus:
            (jobs,) = bus.call(_MANAGER, "ListJobs", within=PATIENCE)
    except (BusLost, CallError, OSError) as error:
        log.info("the service manager does not list its jobs: %s; this is a stop", error)
        return False
    return any(unit == UNIT and "restart" in kind for _, unit, kind, *_ in jobs)
