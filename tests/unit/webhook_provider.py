"""A provider behind external-dns' webhook protocol that is strict, and misbehaves on request."""

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

MEDIA_TYPE = "application/external.dns.webhook+json;version=1"
FIELDS = {"dnsName", "targets", "recordType", "setIdentifier", "recordTTL", "labels"}
FIELDS |= {"providerSpecific"}
LISTS = {"create", "updateOld", "updateNew", "delete"}

Json = dict[str, Any]
Place = tuple[str, str]
"""The name and the type of an endpoint."""


class Answer(NamedTuple):
    status: int
    body: bytes = b""
    fields: Mapping[str, str] = {}


class Request(NamedTuple):
    method: str
    path: str
    body: Any
    at: float
    """The time of the event loop in seconds."""


class Wrong(Exception):
    """A request that the protocol does not permit."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def endpoint(name: str, kind: str, *targets: str, **more: Any) -> Json:
    return {"dnsName": name, "recordType": kind, "targets": list(targets), **more}


class Provider:
    """The endpoints of a provider, which makes all changes of a request or none."""

    def __init__(self) -> None:
        self.held: dict[Place, Json] = {}
        self.requests: list[Request] = []
        self.filter: object = {}
        self.exists = 500
        """The status if an endpoint exists that is created, as external-dns' own server."""
        self.refused: dict[str, int] = {}
        """The status for changes of a name."""
        self.refused_then: Callable[[], None] = lambda: None
        """A change that others make at once after a refusal."""
        self.adjust_refused: dict[str, int] = {}
        self.merges = False
        """True if targets of an endpoint that is created are added to those that exist."""
        self.drops: set[str] = set()
        """Types of records that it accepts and does not keep."""
        self.adjust: Callable[[Json], Iterable[Json]] = lambda one: [one]
        self.shown: Callable[[Json], Iterable[object]] = lambda one: [one]
        """How it lists an endpoint."""
        self.answers: dict[tuple[str, str], list[Answer]] = {}
        """Answers that come next, by method and path, instead of its own."""
        self.hangs: dict[tuple[str, str], Callable[[Request], bool]] = {}
        """Requests that are carried out and never answered."""
        self.delay = 0.0
        """Seconds until a change is made."""
        self.meanwhile: list[Callable[[], None]] = []
        """Changes that others make after each of the next changes."""

    def add(self, name: str, kind: str, *targets: str, **more: Any) -> None:
        """Add an endpoint by hand."""
        self.held[name, kind] = endpoint(name, kind, *targets, **more)

    def targets(self, name: str, kind: str = "A") -> list[str]:
        return sorted(self.held.get((name, kind), {}).get("targets", []))

    def posts(self, path: str = "/records") -> list[Any]:
        return [one.body for one in self.requests if one.method == "POST" and one.path == path]

    def handle(self, method: str, path: str, fields: Mapping[str, str], body: bytes) -> Answer:
        """Answer a request."""
        try:
            sent = _checked(method, path, fields, body)
            self.requests.append(Request(method, path, sent, asyncio.get_running_loop().time()))
            if waiting := self.answers.get((method, path)):
                return waiting.pop(0)
            match method, path:
                case "GET", "/":
                    return _json(self.filter)
                case "GET", "/records":
                    return _json([one for held in self.held.values() for one in self.shown(held)])
                case "POST", "/adjustendpoints":
                    return _json(self._adjusted(sent))
                case _:
                    self._change(sent)
                    return Answer(204)
        except Wrong as wrong:
            return Answer(wrong.status, str(wrong).encode())

    def _adjusted(self, sent: Sequence[Json]) -> list[Json]:
        for one in sent:
            if status := self.adjust_refused.get(one["dnsName"]):
                raise Wrong(status, f"{one['dnsName']} can't be adjusted")
        return [new for one in sent for new in self.adjust(one)]

    def _change(self, sent: Mapping[str, Sequence[Json]]) -> None:
        lists = {name: sent.get(name, []) for name in LISTS}
        for one in (one for several in lists.values() for one in several):
            if status := self.refused.get(one["dnsName"].removeprefix("_koi.")):
                self.refused_then()
                raise Wrong(status, f"{one['dnsName']} can't be changed")
        after = copy.deepcopy(self.held)
        _remove(after, [*lists["delete"], *lists["updateOld"]])
        self._create(after, lists["create"])
        self._create(after, lists["updateNew"])
        self.held = after
        if self.meanwhile:
            self.meanwhile.pop(0)()

    def _create(self, after: dict[Place, Json], several: Sequence[Json]) -> None:
        for one in several:
            place = _place(one)
            if place in after and not self.merges:
                raise Wrong(self.exists, f"{place} exists")
            if one["recordType"] not in self.drops:
                before = after.get(place, {}).get("targets", [])
                targets = list(dict.fromkeys([*before, *one["targets"]]))
                after[place] = {**one, "targets": targets}


def _place(one: Json) -> Place:
    return one["dnsName"], one["recordType"]


def _remove(after: dict[Place, Json], several: Sequence[Json]) -> None:
    for one in several:
        held = after.get(_place(one))
        if held is None or sorted(held["targets"]) != sorted(one["targets"]):
            raise Wrong(500, f"{_place(one)} is not as it was")
        del after[_place(one)]


def _checked(method: str, path: str, fields: Mapping[str, str], body: bytes) -> Any:
    """Return the document of a request; raise ``Wrong`` unless it follows the protocol."""
    reads = (method, path) in {("GET", "/"), ("GET", "/records"), ("POST", "/adjustendpoints")}
    if not reads and (method, path) != ("POST", "/records"):
        raise Wrong(405, f"{method} {path}")
    if reads and fields.get("accept") != MEDIA_TYPE:
        raise Wrong(406, "Accept")
    if method == "GET":
        return None
    if fields.get("content-type") != MEDIA_TYPE:
        raise Wrong(415, "Content-Type")
    try:
        sent = json.loads(body)
    except ValueError:
        raise Wrong(400, "not JSON") from None
    if path == "/records":
        _check(isinstance(sent, dict) and set(sent) <= LISTS and any(sent.values()), "changes")
        _check(len(sent.get("updateOld", [])) == len(sent.get("updateNew", [])), "updates")
        several = [one for found in sent.values() for one in found]
    else:
        _check(isinstance(sent, list) and bool(sent), "endpoints")
        several = sent
    for one in several:
        _check_endpoint(one)
    return sent


def _check_endpoint(one: Any) -> None:
    _check(one if isinstance(one, dict) and set(one) <= FIELDS else None, f"unknown fields: {one}")
    name, targets = one.get("dnsName"), one.get("targets")
    _check(isinstance(name, str) and not name.endswith("."), "dnsName")
    _check(isinstance(targets, list) and targets, f"targets: {one}")
    _check(len(set(targets)) == len(targets), f"twice: {one}")
    _check(one.get("recordType") in {"A", "AAAA", "TXT"}, f"recordType: {one}")
    _check(isinstance(one.get("recordTTL", 0), int), f"recordTTL: {one}")


def _check(right: object, text: str) -> None:
    if not right:
        raise Wrong(400, text)


def _json(document: object) -> Answer:
    return Answer(200, json.dumps(document).encode(), {"Content-Type": MEDIA_TYPE})


@asynccontextmanager
async def served(provider: Provider, port: int = 0) -> AsyncIterator[str]:
    """Serve a provider on TCP; yield its URL."""
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        connections.add(task)
        with suppress(OSError, EOFError, asyncio.CancelledError):
            while True:
                await _serve(provider, reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    async with server:
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            for task in connections:
                task.cancel()
            if connections:
                await asyncio.wait(connections)


async def _serve(
    provider: Provider, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.split("\r\n")
    method, path, _ = first.split(" ")
    fields = {name.lower(): text.strip() for name, _, text in (one.partition(":") for one in lines)}
    assert "cookie" not in fields
    body = await reader.readexactly(int(fields.get("content-length", "0")))
    if (method, path) == ("POST", "/records"):
        await asyncio.sleep(provider.delay)  # also if the client is gone
    answer = provider.handle(method, path, fields, body)
    hangs = provider.hangs.get((method, path))
    if hangs and hangs(provider.requests[-1]):
        await asyncio.Event().wait()
    reply = [f"HTTP/1.1 {answer.status} X", f"Content-Length: {len(answer.body)}"]
    reply += [f"{name}: {text}" for name, text in answer.fields.items()]
    if answer.status == 204:
        del reply[1]
    writer.write("\r\n".join([*reply, "", ""]).encode() + answer.body)
    await writer.drain()
