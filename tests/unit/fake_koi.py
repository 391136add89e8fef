"""The far end of Koi's HTTP API: a daemon that answers as Koi 0.9.0 does.

What it has differs in how long it lives: DNS entries, checks and proxies are kept over a restart,
registrations of mDNS and the token are not. A test gives the clock, so leases end when it says.
"""

import secrets
from collections.abc import Callable
from typing import Final, TypeVar
from urllib.parse import unquote_to_bytes

from tests.unit.fake_koi_mdns import LEASE, Registrations
from tests.unit.fake_koi_stores import Checks, Names, Proxies
from tests.unit.fake_koi_wire import (
    MEDIA_TYPE,
    Answer,
    Field,
    Json,
    Refused,
    Request,
    Unread,
    document,
    flag,
    optional,
    plain,
    read,
    text,
    texts,
    unsigned,
)

READS: Final = ("GET", "HEAD", "OPTIONS")
"""Methods that need no token, apart from these paths."""
PROTECTED: Final = ("/v1/events", "/v1/mcp", "/v1/udp/")
NOTHING: Final = Field(optional(text), has_default=True)
SECONDS: Final = Field(optional(unsigned(64)), has_default=True)
PORT: Final = Field(unsigned(16))
SERVICE: Final = {
    "name": Field(text),
    "type": Field(text),
    "port": PORT,
    "ip": NOTHING,
    "lease_secs": SECONDS,
    "txt": Field(texts, has_default=True, default={}),
}
ENTRY: Final = {
    "name": Field(text),
    "ip": Field(text),
    "ttl": Field(optional(unsigned(32)), has_default=True),
}
CHECK: Final = {
    "name": Field(text),
    "kind": Field(text),
    "target": Field(text),
    "interval_secs": SECONDS,
    "timeout_secs": SECONDS,
}
PROXY: Final = {
    "name": Field(text),
    "listen_port": PORT,
    "backend": Field(text),
    "allow_remote": Field(flag, has_default=True, default=False),
}
Route = tuple[str, str]
Handler = Callable[[Request, str], Answer]
T = TypeVar("T")


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeKoi:
    """A daemon. ``requests`` has all that arrived; names in ``disabled`` are of capabilities.

    If it ``refuses_leases``, no service is announced and no lease renewed.
    """

    def __init__(
        self, clock: Callable[[], float], *, zone: str = "internal", host: str = "koi-host"
    ) -> None:
        self._clock = clock
        self.host = host
        self.names = Names(zone)
        self.checks = Checks()
        self.proxies = Proxies()
        self.disabled = {"runtime", "udp"}
        self.refuses_leases = False
        self.requests: list[Request] = []
        self.start()

    def start(self) -> None:
        """Start, with another token and without the registrations of before."""
        self.token = secrets.token_urlsafe(32)
        self.mdns = Registrations(self._clock, self.host)
        self.checks.results.clear()
        self.proxies.restart()
        self._started = self._clock()

    def call(self, method: str, path: str, body: object = None) -> Answer:
        """Answer a request of another client of this host, which has the token."""
        fields = {"x-koi-token": self.token, "content-type": MEDIA_TYPE}
        return self.answer(Request(method, path, fields, document(body).body if body else b""))

    def handle(self, request: Request) -> Answer:
        """Answer a request that arrived, and keep it in ``requests``."""
        self.requests.append(request)
        return self.answer(request)

    def answer(self, request: Request) -> Answer:
        self.mdns.sweep()
        try:
            self._check_token(request)
            path = request.path.partition("?")[0]
            self._check_capability(path)
            return self._route(request, path)
        except (Refused, Unread) as refused:
            return refused.answer

    def _check_token(self, request: Request) -> None:
        given = request.fields.get("x-koi-token", "")
        is_open = request.method in READS and not request.path.startswith(PROTECTED)
        if not is_open and not secrets.compare_digest(given.encode(), self.token.encode()):
            raise Refused(401, "unauthorized", "Missing or invalid x-koi-token header")

    def _check_capability(self, path: str) -> None:
        parts = path.split("/")
        if len(parts) > 3 and parts[1] == "v1" and parts[2] in self.disabled:
            text_ = f"The '{parts[2]}' capability is disabled on this daemon."
            raise Refused(503, "capability_disabled", text_)

    def _route(self, request: Request, path: str) -> Answer:
        if whole := self._whole().get(path):
            handlers, last = whole, ""
        else:
            parent, _, last = path.rpartition("/")
            handlers = self._parents().get(parent, {}) if last else {}
        if not handlers:
            return Answer(404)
        if request.method not in handlers:
            return Answer(405)
        try:
            return handlers[request.method](request, unquote_to_bytes(last).decode())
        except UnicodeDecodeError:
            return plain("Invalid URL: Invalid UTF-8", 400)

    def _whole(self) -> dict[str, dict[str, Handler]]:
        """Return what handles each path, by method."""
        mdns, names, checks, proxies = self.mdns, self.names, self.checks, self.proxies
        return {
            "/healthz": {"GET": lambda *_: plain("OK")},
            "/v1/status": {"GET": lambda *_: document(self._status())},
            "/v1/host": {"GET": lambda *_: document(self._host())},
            "/v1/mdns/announce": {"POST": self._announce},
            "/v1/mdns/admin/ls": {"GET": lambda *_: document(mdns.list())},
            "/v1/dns/add": {"POST": lambda sent, _: _entries(names.add(read(sent, ENTRY)))},
            "/v1/dns/entries": {"GET": lambda *_: _entries(names.held)},
            "/v1/dns/list": {"GET": lambda *_: document({"names": sorted(names.served())})},
            "/v1/dns/status": {"GET": lambda *_: document(self._dns_status())},
            "/v1/health/add": {"POST": lambda sent, _: _done(checks.add, read(sent, CHECK))},
            "/v1/health/list": {"GET": lambda *_: document({"checks": checks.held})},
            "/v1/health/status": {"GET": lambda *_: document(self._health())},
            "/v1/proxy/add": {"POST": lambda sent, _: _done(proxies.add, read(sent, PROXY))},
            "/v1/proxy/list": {"GET": lambda *_: _entries(proxies.held)},
            "/v1/proxy/status": {"GET": lambda *_: document({"proxies": proxies.status()})},
        }

    def _parents(self) -> dict[str, dict[str, Handler]]:
        """Return what handles the paths one level below each of these."""
        mdns = self.mdns
        return {
            "/v1/mdns/heartbeat": {"PUT": self._heartbeat},
            "/v1/mdns/unregister": {
                "DELETE": lambda _, id_: _also("unregistered", id_, mdns.remove)
            },
            "/v1/mdns/admin/drain": {"POST": lambda _, id_: _also("drained", id_, mdns.drain)},
            "/v1/mdns/admin/revive": {"POST": lambda _, id_: _also("revived", id_, mdns.revive)},
            "/v1/dns/remove": {"DELETE": lambda _, name: _entries(self.names.remove(name))},
            "/v1/health/remove": {"DELETE": lambda _, name: _done(self.checks.remove, name)},
            "/v1/proxy/remove": {"DELETE": lambda _, name: _done(self.proxies.remove, name)},
        }

    def _announce(self, request: Request, _: str) -> Answer:
        asked = read(request, SERVICE)
        if self.refuses_leases:
            raise Refused(500, "daemon_error", "mDNS daemon error: refused by the test")
        lease = LEASE if asked["lease_secs"] is None else asked["lease_secs"]
        return document({"registered": self.mdns.announce(asked, lease)}, 201)

    def _heartbeat(self, _: Request, id_: str) -> Answer:
        if self.refuses_leases:
            raise Refused(404, "not_found", f"Registration not found: {id_}")
        return document({"renewed": self.mdns.heartbeat(id_)})

    def _status(self) -> Json:
        shown = [
            {
                "name": name,
                "summary": "disabled" if name in self.disabled else "running",
                "healthy": name not in self.disabled,
            }
            for name in ("mdns", "certmesh", "dns", "health", "proxy", "udp", "runtime")
        ]
        return {
            "version": "0.9.0",
            "platform": "linux",
            "daemon": True,
            "seal": "passthrough",
            "http_bind": "127.0.0.1",
            "mcp_http": True,
            "mdns_browse_active": False,
            "uptime_secs": int(self._clock() - self._started),
            "capabilities": shown,
        }

    def _host(self) -> Json:
        return {
            "hostname": self.host,
            "hostname_fqdn": f"{self.host}.local",
            "os": "linux",
            "arch": "x86_64",
            "interfaces": {"lan": [{"name": "eth0", "ip": "192.168.1.10"}]},
        }

    def _dns_status(self) -> Json:
        counts = {"static_entries": len(self.names.served())}
        counts |= {"certmesh_entries": 0, "mdns_entries": 0}
        return {"running": True, "zone": self.names.zone, "port": 53, "records": counts}

    def _health(self) -> Json:
        return {"machines": [], "services": self.checks.status(self.proxies.held)}


def _entries(held: list[Json]) -> Answer:
    return document({"entries": held})


def _done(act: Callable[[T], None], argument: T) -> Answer:
    act(argument)
    return document({"status": "ok"})


def _also(verb: str, id_: str, act: Callable[[str], None]) -> Answer:
    """Return what was sent, an ID or its prefix, after the action."""
    act(id_)
    return document({verb: id_})
