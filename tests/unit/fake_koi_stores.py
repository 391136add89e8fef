"""The DNS entries, health checks and proxy entries of the fake Koi daemon, which it persists.

They follow Koi 0.9.0: a name has one address, a check that exists can't be added, and a proxy whose
port is taken is accepted.
"""

import ipaddress
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from tests.unit.fake_koi_wire import Json, Refused

PRIVATE: Final = [
    ipaddress.ip_network(one)
    for one in (
        *("10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"),
        *("fc00::/7", "fe80::/10", "::1/128"),
    )
]
"""Addresses that Koi serves. Others are stored only."""
INTERVAL: Final = 30
TIMEOUT: Final = 5


class Names:
    """The static entries of the zone."""

    def __init__(self, zone: str) -> None:
        self.zone = zone
        self.held: list[Json] = []

    def add(self, entry: Json) -> list[Json]:
        """Add an entry, or replace the one of its name."""
        made = {**entry, "name": self._full(entry["name"])}
        try:
            ipaddress.ip_address(entry["ip"])
        except ValueError:
            raise Refused(400, "invalid_payload", "invalid_ip") from None
        for at, one in enumerate(self.held):
            if one["name"] == made["name"]:
                self.held[at] = made
                return self.held
        self.held.append(made)
        return self.held

    def remove(self, name: str) -> list[Json]:
        full = self._full(name)
        left = [one for one in self.held if one["name"] != full]
        if len(left) == len(self.held):
            raise Refused(404, "not_found", "entry_not_found")
        self.held = left
        return left

    def served(self) -> dict[str, str]:
        """Return the names that are answered, with their addresses."""
        return {one["name"]: one["ip"] for one in self.held if _is_private(one["ip"])}

    def _full(self, name: str) -> str:
        short = name.strip().rstrip(".").lower()
        if short and (short == self.zone or short.endswith(f".{self.zone}")):
            return f"{short}."
        if short and "." not in short:
            return f"{short}.{self.zone}."
        raise Refused(400, "invalid_name", "name_outside_zone")


class Checks:
    """The health checks. A test sets the ``results`` by name: ``up`` or ``down``."""

    def __init__(self) -> None:
        self.held: list[Json] = []
        self.results: dict[str, str] = {}
        self.at = "2026-01-01T00:00:00.123456789Z"
        """When all results were found."""

    def add(self, check: Json) -> None:
        kind = check["kind"].strip().lower()
        if kind not in ("http", "tcp"):
            raise _unusable("invalid_check_kind")
        if not check["name"].strip():
            raise _unusable("name is required")
        made = {**check, "kind": kind}
        for key, default in (("interval_secs", INTERVAL), ("timeout_secs", TIMEOUT)):
            made[key] = default if check[key] is None else check[key]
            if made[key] == 0:
                raise _unusable(f"{key.removesuffix('_secs')} must be > 0")
        (_check_url if kind == "http" else _check_place)(check["target"])
        if any(one["name"] == check["name"] for one in self.held):
            raise _unusable(f"check already exists: {check['name']}")
        self.held.append(made)

    def remove(self, name: str) -> None:
        left = [one for one in self.held if one["name"] != name]
        if len(left) == len(self.held):
            raise Refused(404, "not_found", name)
        self.held = left
        self.results.pop(name, None)

    def status(self, proxies: Iterable[Json]) -> list[Json]:
        """Return all checks with their results, and one check for each proxy."""
        for_proxies = [
            {
                "name": f"proxy:{one['name']}",
                "kind": "http",
                "target": one["backend"],
                "interval_secs": INTERVAL,
                "timeout_secs": TIMEOUT,
            }
            for one in proxies
        ]
        return [self._shown(one) for one in [*self.held, *for_proxies]]

    def _shown(self, check: Json) -> Json:
        result = self.results.get(check["name"], "unknown")
        at = None if result == "unknown" else self.at
        message = "tcp_error: Connection refused (os error 111)" if result == "down" else None
        last_ok = at if result == "up" else None
        return {
            **check,
            "status": result,
            "last_checked": at,
            "last_ok": last_ok,
            "message": message,
        }


class Proxies:
    """The proxy entries, and their listeners. Ports that a test adds to ``taken`` are in use."""

    def __init__(self) -> None:
        self.held: list[Json] = []
        self.taken: set[int] = set()
        self.collisions = 0
        """How many of the next changed entries find their port held by the listener before."""
        self._listeners: dict[str, tuple[Json, str]] = {}
        """The entry that a listener was started for, and its state."""

    def add(self, entry: Json) -> None:
        """Add an entry, or replace the one of its name."""
        _check_backend(entry["backend"], is_remote=entry["allow_remote"])
        left = [one for one in self.held if one["name"] != entry["name"]]
        self.held = sorted([*left, entry], key=lambda one: one["name"])
        self._apply()

    def remove(self, name: str) -> None:
        left = [one for one in self.held if one["name"] != name]
        if len(left) == len(self.held):
            raise Refused(404, "not_found", name)
        self.held = left
        self._apply()

    def restart(self) -> None:
        """Start all listeners: another entry for the same port may win now."""
        self._listeners = {}
        self._apply(reversed(self.held))

    def status(self) -> list[Json]:
        """Return the states, in an order that nothing may depend on.

        A listener is ``starting`` until its state has been read once.
        """
        shown = []
        for name, (entry, state) in sorted(self._listeners.items(), reverse=True):
            one = {**entry, "cert_source": "self-signed", "state": state}
            shown.append(one | ({"error": "address in use"} if state == "error" else {}))
            if state == "starting":
                self._listeners[name] = (entry, "running")
        return shown

    def _apply(self, entries: Iterable[Json] | None = None) -> None:
        """Start and stop listeners. One that failed is not tried again."""
        names = {one["name"]: one for one in self.held}
        held = set(self.taken)
        for name, (entry, _) in list(self._listeners.items()):
            if names.get(name) != entry:
                del self._listeners[name]
                if name in names and self.collisions:
                    self.collisions -= 1
                    held.add(entry["listen_port"])
        for entry in self.held if entries is None else entries:
            if entry["name"] not in self._listeners:
                used = {
                    one["listen_port"]
                    for one, state in self._listeners.values()
                    if state != "error" and one["listen_port"]
                }
                failed = entry["listen_port"] in used | held
                self._listeners[entry["name"]] = (entry, "error" if failed else "starting")


def _is_private(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    return any(parsed in one for one in PRIVATE)


def _check_url(target: str) -> None:
    try:
        parts = urlsplit(target)
        host = parts.hostname
    except ValueError:
        raise _unusable("invalid URL: invalid IPv6 address") from None
    if not parts.scheme:
        raise _unusable("invalid URL: relative URL without a base")
    if parts.scheme not in ("http", "https"):
        raise _unusable("URL must be http or https")
    if not host:
        raise _unusable("invalid URL: empty host")


def _check_place(target: str) -> None:
    """Check ``host:port``, which is split at the first colon: no IPv6 address is possible."""
    host, colon, port = target.partition(":")
    if not colon:
        raise _unusable("TCP target must be host:port")
    if not host.strip():
        raise _unusable("TCP target host is empty")
    if not port.isascii() or not port.isdecimal() or int(port) > 0xFFFF:
        raise _unusable("TCP target port must be a number")


def _check_backend(backend: str, *, is_remote: bool) -> None:
    if "://" in backend:
        parts = urlsplit(backend)
        host, port = parts.hostname or "", str(parts.port or 80)
    else:
        host, _, port = backend.rpartition(":")
    if not host or not port.isdecimal():
        raise _unusable("backend must be host:port or a URL")
    is_loopback = host == "localhost" or host.startswith("127.") or host == "::1"
    if not is_remote and not is_loopback:
        raise _unusable("backend is not loopback; use --backend-remote to allow")


def _unusable(reason: str) -> Refused:
    return Refused(400, "invalid_payload", reason)
