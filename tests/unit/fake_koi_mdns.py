"""The mDNS registrations of the fake Koi daemon: leases, draining, and what a network sees.

It follows Koi 0.9.0. A lease that is missed drains: it is still announced for the time of grace.
Two registrations of one name and type are one service on the network, so removing one silences
both. The type in another spelling is another registration of the same service.
"""

import ipaddress
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from koi_agent.core.frozen import frozen
from tests.unit.fake_koi_wire import Json, Refused

LEASE: Final = 90
GRACE: Final = 30
SWEEP: Final = 5.0
"""Seconds between two looks for leases that are over."""
LONGEST_TYPE: Final = 15
LONGEST_TXT: Final = 255


@frozen(kw_only=True)
class Registration:
    """A registration. One without a ``lease`` is permanent."""

    id: str
    asked: Json
    lease: int | None
    since: float
    seen: float
    draining: float | None = None


class Registrations:
    """All registrations. ``air`` has the services on the network, and ``network`` their history."""

    def __init__(self, clock: Callable[[], float], host: str) -> None:
        self._clock = clock
        self._swept = clock()
        self._host = f"{host.lower()}.local."
        self.held: dict[str, Registration] = {}
        self.air: dict[str, Json] = {}
        self.network: list[tuple[str, str]] = []
        """Announcements and goodbyes, in order, with the full name of the service. The addresses of
        the host get a goodbye with each service, although others need them."""
        self.addresses: set[str] = set()
        """Addresses of requests. The name of the host has them too, for all services."""
        name = f"Koi MCP ({host})"
        self.announce({"name": name, "type": "_mcp._tcp", "port": 5641, "txt": {}}, lease=None)

    def announce(self, asked: Json, lease: int | None) -> Json:
        """Add a registration, or take up one that drains; ``lease`` is in seconds."""
        if lease == 0:
            raise _unusable("lease_secs=0 is not allowed via HTTP")
        kind = canonical(asked["type"])
        draining = [
            one
            for one in self.held.values()
            if one.draining is not None
            and (one.asked["name"], one.asked["type"]) == (asked["name"], asked["type"])
        ]
        now = self._clock()
        if draining:
            old = draining[0]
            made = replace(old, asked=asked, lease=lease, seen=now, draining=None)
            # Only these two are compared: a new address is missed.
            if (old.asked["port"], old.asked["txt"]) != (asked["port"], asked["txt"]):
                self._silence(old.asked)
                with suppress(Refused):  # it is alive and silent then
                    self._publish(asked, kind)
        else:
            id_ = secrets.token_hex(4)
            made = Registration(id=id_, asked=asked, lease=lease, since=now, seen=now)
            self._publish(asked, kind)
        self.held[made.id] = made
        shown = {"id": made.id, "name": asked["name"], "type": kind.removesuffix(".local.")}
        shown |= {"port": asked["port"], "mode": _mode(made)}
        return shown if lease is None else {**shown, "lease_secs": lease}

    def heartbeat(self, id_: str) -> Json:
        found = self._one(id_)
        self.held[id_] = replace(found, seen=self._clock(), draining=None)
        return {"id": id_, "lease_secs": found.lease or 0}

    def remove(self, id_: str) -> None:
        self._silence(self._one(id_).asked)
        del self.held[id_]

    def remove_all(self) -> None:
        """Remove all, as at the end of a daemon that is stopped."""
        for id_ in list(self.held):
            self.remove(id_)

    def drain(self, prefix: str) -> None:
        found = self._begins(prefix)
        if found.draining is not None:
            raise Refused(409, "already_draining", f"Already draining: {found.id}")
        self.held[found.id] = replace(found, draining=self._clock())

    def revive(self, prefix: str) -> None:
        found = self._begins(prefix)
        if found.draining is None:
            raise Refused(409, "not_draining", f"Not draining: {found.id}")
        self.held[found.id] = replace(found, seen=self._clock(), draining=None)

    def list(self) -> list[Json]:
        """Return all registrations, in an order that nothing may depend on."""
        return [self._shown(one) for one in sorted(self.held.values(), key=lambda one: one.id)]

    def sweep(self) -> None:
        """Do what is due by the clock: a sweep every five seconds."""
        now = self._clock()
        while self._swept + SWEEP <= now:
            self._swept += SWEEP
            for one in list(self.held.values()):
                self._sweep(one, self._swept)

    def _sweep(self, one: Registration, now: float) -> None:
        if one.lease is None:
            return
        if one.draining is not None:
            if now - one.draining >= GRACE:
                del self.held[one.id]
                self._silence(one.asked)
        elif now - one.seen >= one.lease:
            self.held[one.id] = replace(one, draining=now)

    def _one(self, id_: str) -> Registration:
        if id_ not in self.held:
            raise Refused(404, "not_found", f"Registration not found: {id_}")
        return self.held[id_]

    def _begins(self, prefix: str) -> Registration:
        found = [one for id_, one in self.held.items() if id_.startswith(prefix)]
        if len(found) > 1:
            raise Refused(400, "ambiguous_id", f"Ambiguous ID prefix: {prefix}")
        return found[0] if found else self._one(prefix)

    def _publish(self, asked: Json, kind: str) -> None:
        """Announce a service on the network; the name has its dots escaped there."""
        if asked.get("ip"):
            self.addresses.add(_address(asked["ip"]))
        for key, value in asked["txt"].items():
            if not key.isascii():
                raise _failed(f"TXT property key {key} is not ASCII")
            if "=" in key:
                raise _failed(f"TXT property key {key} contains '='")
            if (size := len(key) + 1 + len(value.encode())) > LONGEST_TXT:
                text = f"TXT property '{key}' has length {size} bytes"
                raise _failed(f"{text}, exceeding the {LONGEST_TXT}-byte limit")
        name = asked["name"].replace("\\", "\\\\").replace(".", "\\.")
        full = f"{name}.{kind}".lower()
        self.air[full] = asked
        self.network.append(("announced", full))

    def _silence(self, asked: Json) -> None:
        """Send a goodbye. The dots are not escaped here, so a name with a dot stays announced."""
        full = f"{asked['name']}.{canonical(asked['type'])}".lower()
        if self.air.pop(full, None) is not None:
            self.network += [("goodbye", self._host), ("goodbye", full)]

    def _shown(self, one: Registration) -> Json:
        now = self._clock()
        shown = {
            "id": one.id,
            "name": one.asked["name"],
            "type": one.asked["type"],
            "port": one.asked["port"],
            "mode": _mode(one),
            "state": "alive" if one.draining is None else "draining",
            "grace_secs": 0 if one.lease is None else GRACE,
            "registered_at": str(int(one.since)),
            "last_seen": str(int(one.seen)),
            "txt": one.asked["txt"],
        }
        if one.lease is not None:
            ends = one.seen + one.lease if one.draining is None else one.draining + GRACE
            shown |= {"lease_secs": one.lease, "remaining_secs": max(0, int(ends - now))}
        return shown


def canonical(spelled: str) -> str:
    """Return the type of a service as it is on the network, from one of its spellings."""
    short = spelled.strip().rstrip(".").removesuffix(".local")
    name, _, protocol = short.partition(".")
    if "." in protocol:
        raise _bad_type(short)
    name, protocol = name.removeprefix("_"), (protocol or "tcp").removeprefix("_")
    if protocol not in ("tcp", "udp"):
        raise _bad_type(f"protocol must be tcp or udp, got '{protocol}'")
    if not 1 <= len(name.encode()) <= LONGEST_TYPE:
        raise _bad_type(f"service name must be 1-15 characters, got '{name}'")
    return f"_{name}._{protocol}.local."


def _mode(one: Registration) -> str:
    return "permanent" if one.lease is None else "heartbeat"


def _address(written: str) -> str:
    try:
        return str(ipaddress.ip_address(written))
    except ValueError:
        text = "parsing of ip addr failed, reason: invalid IP address syntax"
        raise _failed(text) from None


def _failed(reason: str) -> Refused:
    return Refused(500, "daemon_error", f"mDNS daemon error: {reason}")


def _unusable(reason: str) -> Refused:
    return Refused(400, "invalid_payload", f"Invalid payload: {reason}")


def _bad_type(reason: str) -> Refused:
    return Refused(400, "invalid_type", f"Invalid service type: Invalid service type: {reason}")
