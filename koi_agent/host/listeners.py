"""Who listens on this host: one look at the kernel's table of sockets, shared by all who ask.

A listener names the control group of the task that made it, and ``control_groups`` finds whose
that is: here by any name, for units and containers alike.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from koi_agent.core.errors import BadInput
from koi_agent.core.instance import KoiMetadata, PortMapping, PortSource, Protocol
from koi_agent.host.cgroups import ControlGroups
from koi_agent.host.sock_diag import Listener, listeners

log = logging.getLogger(__name__)

FRESH: Final = 0.1
"""Seconds that a look serves whoever asks."""
EPHEMERAL: Final = range(32768, 61000)
"""The kernel's own default, for where a sandbox hides what is configured."""

_EPHEMERAL_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")


class ListenerTable:
    """Looks at the listeners of the host, once for all who want to know at one time."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._seen: Sequence[Listener] | None = None
        self._seen_at = float("-inf")
        self._failing = False

    async def look(self) -> Sequence[Listener] | None:
        """See who listens now; None where that can't be seen."""
        asked = time.monotonic()
        async with self._lock:
            if self._seen_at <= asked - FRESH:
                began = time.monotonic()
                self._seen = await self._look()
                self._seen_at = began
        return self._seen

    async def _look(self) -> Sequence[Listener] | None:
        try:
            seen = await listeners()
        except (OSError, BadInput) as error:
            if not self._failing:
                log.warning("listening ports can't be seen: sock_diag: %s", error)
            self._failing = True
            return None
        self._failing = False
        return seen


class ListenersByOwner:
    """Whose the listeners of a look are; one that fails leaves what the last one saw."""

    def __init__(self) -> None:
        self._groups = ControlGroups()
        self._of: dict[str, tuple[Listener, ...]] = {}

    def of(self, name: str) -> tuple[Listener, ...]:
        """Tell somebody's listeners."""
        return self._of.get(name, ())

    def forget(self, name: str) -> None:
        """Take it that somebody has no listeners any more, until the next look."""
        self._of.pop(name, None)

    def take(self, seen: Sequence[Listener], groups: Mapping[str, str]) -> set[str]:
        """Find whose, by control group, are those seen; returns the names of those changed."""
        owners = self._groups.owners((one.cgroup_id for one in seen if one.cgroup_id), groups)
        now: dict[str, tuple[Listener, ...]] = {}
        for one in seen:
            if name := owners.get(one.cgroup_id):
                now[name] = (*now.get(name, ()), one)
        before, self._of = self._of, now
        return {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}


def served(
    listeners: Iterable[Listener], metadata: KoiMetadata, *, ephemeral: range = EPHEMERAL
) -> Iterator[PortMapping]:
    """Name the ports that listeners serve, but for those of clients that wait for an answer."""
    for one in listeners:
        if is_declared(one, metadata) or not _is_client(one, ephemeral):
            yield PortMapping(
                container_port=one.port,
                protocol=one.protocol,
                host_port=one.port,
                host_ip=one.address,
                source=PortSource.LISTENING,
            )


def is_declared(one: Listener, metadata: KoiMetadata) -> bool:
    """Tell whether the owner spoke of this port; a port alone means either protocol."""
    if one.port == metadata.port:
        return True
    return any(service == (one.port, one.protocol) for service, _ in metadata.ports)


def _is_client(one: Listener, ephemeral: range) -> bool:
    """Tell whether this is most likely a client that waits for an answer, as resolvers do."""
    return one.protocol is Protocol.UDP and one.port in ephemeral


def ephemeral_ports(file: Path = _EPHEMERAL_FILE) -> range:
    """Ask the kernel which ports it gives to clients; its default if it can't be asked."""
    try:
        first, last = (int(number) for number in file.read_text("ascii").split())
    except (OSError, ValueError):
        return EPHEMERAL
    return range(first, last + 1)
