"""Which unit listens where, by the last look at the kernel's table of sockets."""

import logging
from collections.abc import Mapping, Sequence

from koi_agent.backends.systemd.control_groups import ControlGroups
from koi_agent.core.errors import BadInput
from koi_agent.host.sock_diag import Listener, listeners

log = logging.getLogger(__name__)


class Census:
    """The listeners of units; a look that fails leaves what the last one saw."""

    def __init__(self) -> None:
        self._groups = ControlGroups()
        self._of: dict[str, tuple[Listener, ...]] = {}
        self._failing = False

    def of(self, unit: str) -> tuple[Listener, ...]:
        """Tell a unit's listeners."""
        return self._of.get(unit, ())

    async def look(self) -> Sequence[Listener] | None:
        """See who listens now; None where that can't be seen."""
        try:
            seen = await listeners()
        except (OSError, BadInput) as error:
            if not self._failing:
                log.warning("listening ports can't be seen: sock_diag: %s", error)
            self._failing = True
            return None
        self._failing = False
        return seen

    def take(self, seen: Sequence[Listener], groups: Mapping[str, str]) -> set[str]:
        """Find the units, in these control groups, of what was seen; returns those changed."""
        owners = self._groups.owners((one.cgroup_id for one in seen if one.cgroup_id), groups)
        now: dict[str, tuple[Listener, ...]] = {}
        for one in seen:
            if unit := owners.get(one.cgroup_id):
                now[unit] = (*now.get(unit, ()), one)
        before, self._of = self._of, now
        return {unit for unit in before.keys() | now.keys() if before.get(unit) != now.get(unit)}
