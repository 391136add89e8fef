"""Notices another agent with the same mark at the same Caddy: that of a machine that was cloned.

The two would undo each other's changes forever.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from koi_agent.core.errors import BadInput
from koi_agent.host.caddy.configuration import Configuration
from koi_agent.host.caddy.objects import ID

log = logging.getLogger(__name__)

MOST: Final = 5
"""Changes by others to the agent's objects within ``WINDOW``. An administrator makes fewer."""
WINDOW: Final = 60.0
REST: Final = 600.0
"""Seconds after the last such change until the agent writes again."""
REASON: Final = (
    "another agent has the mark of this one and changes the same objects; give each machine an"
    " /etc/machine-id of its own (systemd-machine-id-setup(1))"
)


class Rival:
    """Counts the changes that others make to the agent's objects.

    Missing objects do not count, because a reload of Caddy removes them.
    """

    def __init__(self) -> None:
        self._known: Mapping[str, Any] | None = None
        self._changes: deque[float] = deque(maxlen=MOST)
        self._rests_until = 0.0

    def is_here(self, found: Configuration) -> bool:
        """Compare a configuration with the last one; return True while nothing may be written."""
        now = asyncio.get_running_loop().time()
        known, self._known = self._known, _own(found)
        if known is not None and not self._known.items() <= known.items():
            self._changes.append(now)
            is_resting = now < self._rests_until
            if is_resting or self._are_many(now):
                self._rests_until = now + REST
                log.log(logging.DEBUG if is_resting else logging.WARNING, "Caddy: %s", REASON)
        return now < self._rests_until

    def _are_many(self, now: float) -> bool:
        return len(self._changes) == MOST and self._changes[0] > now - WINDOW

    def on_written(self, found: Configuration) -> None:
        """Remember what the agent itself has written."""
        self._known = _own(found)


def _own(found: Configuration) -> Mapping[str, Any]:
    """Return the routes and the policy of the agent by their identifiers."""
    try:
        servers = [*found.own_servers().values()]
        policies = [found.policies()[position] for position in found.own_policies()]
    except BadInput:
        return {}
    routes = [one.get("routes") for one in servers]
    listed = [one for of_server in routes if isinstance(of_server, list) for one in of_server]
    return {one[ID]: one for one in (*listed, *policies) if found.names.has(one)}
