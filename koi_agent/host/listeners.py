"""The listening sockets of this host, and which unit or container each belongs to.

With each socket, the kernel returns the control group of the task that created it.
"""

import asyncio
import logging
import socket
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
"""Seconds for which all callers get the same reading."""
EPHEMERAL: Final = range(32768, 61000)
"""The kernel's default range, used where a sandbox hides the configured one."""

_BIND_V6ONLY_FILE: Final = Path("/proc/sys/net/ipv6/bindv6only")
_EPHEMERAL_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")


class ListenerTable:
    """The listeners of this host, read once for all simultaneous callers."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._listeners: Sequence[Listener] | None = None
        self._read_at = float("-inf")
        self._is_failing = False

    async def read(self) -> Sequence[Listener] | None:
        """Return the present listeners; None if the kernel does not return them."""
        called = time.monotonic()
        async with self._lock:
            if self._read_at <= called - FRESH:
                began = time.monotonic()
                self._listeners = await self._read()
                self._read_at = began
        return self._listeners

    async def _read(self) -> Sequence[Listener] | None:
        try:
            found = await listeners()
        except (OSError, BadInput) as error:
            if not self._is_failing:
                log.warning("sock_diag: listening ports can't be read: %s", error)
            self._is_failing = True
            return None
        self._is_failing = False
        return found


class ListenersByOwner:
    """The listeners of units or containers, by name."""

    def __init__(self) -> None:
        self._control_groups = ControlGroups()
        self._by_owner: dict[str, tuple[Listener, ...]] = {}

    def of(self, owner: str) -> tuple[Listener, ...]:
        """Return the listeners of one owner."""
        return self._by_owner.get(owner, ())

    def remove(self, owner: str) -> None:
        """Remove the listeners of one owner, until the next update."""
        self._by_owner.pop(owner, None)

    def update(self, found: Sequence[Listener], control_groups: Mapping[str, str]) -> set[str]:
        """Store the listeners of the host; returns the owners whose listeners have changed.

        ``control_groups`` are those of all owners, by name.
        """
        ids = (listener.cgroup_id for listener in found if listener.cgroup_id)
        owners = self._control_groups.owners(ids, control_groups)
        now: dict[str, tuple[Listener, ...]] = {}
        for listener in found:
            if owner := owners.get(listener.cgroup_id):
                now[owner] = (*now.get(owner, ()), listener)
        before, self._by_owner = self._by_owner, now
        return {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}


def served(
    listeners: Iterable[Listener], metadata: KoiMetadata, *, ephemeral: range = EPHEMERAL
) -> Iterator[PortMapping]:
    """Yield the ports that listeners serve, without those of UDP clients."""
    for listener in listeners:
        if is_declared(listener, metadata) or not _is_client(listener, ephemeral):
            yield PortMapping(
                container_port=listener.port,
                protocol=listener.protocol,
                host_port=listener.port,
                host_ip=listener.address,
                source=PortSource.LISTENING,
                interface=_interface(listener.ifindex) if listener.ifindex else "",
                is_v6only=listener.v6only and listener.address == "::",
            )


def _interface(index: int) -> str:
    """Return the name of an interface, or its number if it is gone."""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return str(index)


def is_declared(listener: Listener, metadata: KoiMetadata) -> bool:
    """Return True if the metadata names this port; a port alone means either protocol."""
    if listener.port == metadata.port:
        return True
    return any(service == (listener.port, listener.protocol) for service, _ in metadata.ports)


def _is_client(listener: Listener, ephemeral: range) -> bool:
    """Return True for a UDP socket on an ephemeral port: most likely it waits for a reply."""
    return listener.protocol is Protocol.UDP and listener.port in ephemeral


def ephemeral_ports(file: Path = _EPHEMERAL_FILE) -> range:
    """Return the ports that the kernel gives to clients, or its default if it is not readable."""
    try:
        first, last = (int(number) for number in file.read_text("ascii").split())
    except (OSError, ValueError):
        return EPHEMERAL
    return range(first, last + 1)


def bind_v6only(file: Path = _BIND_V6ONLY_FILE) -> bool:
    """Return True if ``::`` leaves out IPv4 by default; the kernel's own default is False."""
    try:
        return file.read_text("ascii").strip() == "1"
    except (OSError, ValueError):
        return False
