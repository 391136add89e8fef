"""The kinds of entries of a Koi daemon: how each is added, removed, and read from its lists.

An entry has a key, which the daemon or the agent keeps unique. It has a body: the JSON of the
request that adds it, in one form, so that bodies can be compared as text.
"""

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from typing import Any, Final, NamedTuple

from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import RecordState
from koi_agent.core.text import printable
from koi_agent.host.koi_daemon.daemon import Daemon
from koi_agent.host.koi_daemon.decisions import Form

Json = Mapping[str, Any]
_ANNOUNCED: Final = ("name", "type", "port", "txt")
LEASE: Final = 90
"""Seconds of a lease: a daemon removes a service 30 s after it has ended."""
_LONGEST_REASON: Final = 200
_ADDRESS: Final = ("name", "ip", "ttl")
_CHECK: Final = ("name", "kind", "target", "interval_secs", "timeout_secs")
_ROUTE: Final = ("name", "listen_port", "backend", "allow_remote")


class Outcome(NamedTuple):
    """The state of an entry, and its reason."""

    state: RecordState
    reason: str = ""


PRESENT: Final = Outcome(RecordState.ANNOUNCED)


@frozen()
class Seen:
    """An entry that the daemon lists. ``handle`` names it in the path of a request."""

    body: str
    handle: str


Listed = Mapping[str, Sequence[Seen]]
"""The entries of a daemon by key."""


async def _no_states(_daemon: Daemon) -> Mapping[str, Outcome]:
    """Return nothing: all listed entries work."""
    return {}


@frozen(kw_only=True)
class Kind:
    """A kind of entries.

    ``listing`` and ``array`` are the path of the list and its member with the entries, "" for the
    list itself. ``fields`` are those of a body. ``key`` returns the key of a body, and ``handle``
    is the member that names an entry. ``extra`` is sent with a body, and not listed. ``states``
    returns the outcomes by key of those entries that do not work.
    """

    name: str
    listing: str
    array: str
    add: str
    remove: str
    fields: Sequence[str]
    key: Callable[[Json], str]
    form: Form
    texts: Sequence[str] = ("name",)
    handle: str = "name"
    extra: Json = field(default_factory=dict)
    states: Callable[[Daemon], Awaitable[Mapping[str, Outcome]]] = _no_states

    def read(self, document: object) -> Listed:
        """Return the entries of a list; raise ``BadInput``.

        Entries of another form are left out.
        """
        found: dict[str, list[Seen]] = {}
        for one in elements(document, self.array):
            with suppress(BadInput):
                key, seen = self._read_one(one)
                found.setdefault(key, []).append(seen)
        return found

    def _read_one(self, entry: Json) -> tuple[str, Seen]:
        """Return the key of an entry, and the entry; raise ``BadInput``."""
        handle = text_in(entry, self.handle)
        for name in self.texts:
            text_in(entry, name)
        body = {field: entry.get(field) for field in self.fields}
        if self.key is _dns_name:
            body["name"] = _dns_name(body)
        try:
            return self.key(body), Seen(text_of(body), handle)
        except RecursionError:
            raise BadInput("it has too many levels") from None


def elements(document: object, array: str) -> Iterator[Mapping[str, Any]]:
    """Yield the objects in an array of a response; raise ``BadInput``. Others are left out."""
    found = document
    if array:
        found = document.get(array) if isinstance(document, dict) else None
    if not isinstance(found, list):
        raise BadInput(f"its response has no list{' ' if array else ''}{array}")
    yield from (one for one in found if isinstance(one, dict))


def text_in(entry: Json, name: str) -> str:
    """Return the text of a member; raise ``BadInput`` for any other value."""
    if not isinstance(text := entry.get(name), str):
        raise BadInput(f"{name} is not a text")
    return text


def text_of(body: Json) -> str:
    """Return a body as text, in one form."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"))


def _name(body: Json) -> str:
    return str(body["name"])


def _dns_name(body: Json) -> str:
    """Return a full name in lower case and without a final dot."""
    name: str = body["name"]
    return name.lower().rstrip(".")


def service_key(body: Json) -> str:
    """Return the name of a service on the network, independent of the spelling of its type."""
    kind: str = body["type"]
    short = kind.strip().lower().rstrip(".").removesuffix(".local")
    service, _, protocol = short.partition(".")
    name: str = body["name"]
    return f"{name.lower()}._{service.removeprefix('_')}._{protocol.removeprefix('_') or 'tcp'}"


async def _proxy_states(daemon: Daemon) -> Mapping[str, Outcome]:
    """Return the proxies that do not run: a daemon accepts an entry whose port is taken."""
    found = {}
    document = await daemon.get("/v1/proxy/status")
    for one in elements(document, "proxies"):
        if isinstance(name := one.get("name"), str) and one.get("state") != "running":
            found[name] = _proxy_state(one)
    return found


def _proxy_state(shown: Json) -> Outcome:
    """Return what became of a proxy that does not run."""
    state, error = (
        one if isinstance(one, str) else "" for one in map(shown.get, ("state", "error"))
    )
    if state == "starting":
        return Outcome(RecordState.WANTED, "the proxy of the Koi daemon is starting")
    text = printable(f"{state or 'unknown'}: {error or 'no reason'}", _LONGEST_REASON)
    return Outcome(RecordState.FAILED, f"the proxy of the Koi daemon is in the state {text}")


DNS: Final = Kind(
    name="dns",
    listing="/v1/dns/entries",
    array="entries",
    add="/v1/dns/add",
    remove="/v1/dns/remove",
    fields=_ADDRESS,
    key=_dns_name,
    form=Form.REPLACED,
)
PROXY: Final = Kind(
    name="proxy",
    listing="/v1/proxy/list",
    array="entries",
    add="/v1/proxy/add",
    remove="/v1/proxy/remove",
    fields=_ROUTE,
    key=_name,
    form=Form.REPLACED,
    states=_proxy_states,
)
HEALTH: Final = Kind(
    name="health",
    listing="/v1/health/list",
    array="checks",
    add="/v1/health/add",
    remove="/v1/health/remove",
    fields=_CHECK,
    key=_name,
    form=Form.UNIQUE,
)
MDNS: Final = Kind(
    name="mdns",
    listing="/v1/mdns/admin/ls",
    array="",
    add="/v1/mdns/announce",
    remove="/v1/mdns/unregister",
    fields=_ANNOUNCED,
    key=service_key,
    form=Form.SHARED,
    texts=("name", "type"),
    handle="id",
    extra={"lease_secs": LEASE},
)
KINDS: Final = {one.name: one for one in (DNS, PROXY, HEALTH, MDNS)}
"""All kinds by name."""
