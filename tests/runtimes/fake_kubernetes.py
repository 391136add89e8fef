"""The API server of a fake cluster, on a real TLS socket, which may misbehave."""

import asyncio
import json
import math
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

from tests.runtimes.connections import Connections
from tests.runtimes.fake_cluster import FakeCluster, Matches, Record
from tests.runtimes.kubernetes_answers import bookmark, bookmark_time, selector, status

TOKEN: Final = "a-good-token"
_PARAMETERS: Final = {
    *("limit", "continue", "fieldSelector", "watch", "allowWatchBookmarks", "timeoutSeconds"),
    *("resourceVersion", "resourceVersionMatch", "sendInitialEvents"),
}
Query = Mapping[str, str]
Answer = tuple[int, Mapping[str, str]]


@dataclass
class Faults:
    """How a server misbehaves; endpoints are version, identity, node, list, watch and stream."""

    silent: set[str] = field(default_factory=set)
    """Endpoints that read a request and never respond. A watch begins, and has no event."""
    answers: dict[str, deque[Answer]] = field(default_factory=dict)
    """HTTP status and headers of the next responses."""
    bodies: dict[str, deque[Callable[[bytes], bytes]]] = field(default_factory=dict)
    """Functions for the bodies of the next responses. A shorter body is cut off in the middle."""
    lines: deque[Callable[[bytes], list[bytes]]] = field(default_factory=deque)
    """Functions for the next events of a watch."""
    in_streams: deque[Callable[[], None]] = field(default_factory=deque)
    """Functions that are called within the lists with which the next watches begin."""
    ends_watches: bool = False
    """Whether watches end as soon as they have begun."""
    ends_streams: int = 0
    """How many lists at the beginning of a watch end before they are complete."""
    streams_lists: bool = True
    """Whether the server can begin a watch with a list."""
    expires_pages: int = 0
    """How many lists are too old to be continued."""


class FakeKubernetes:
    """One server, used as a context manager."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self.cluster = FakeCluster()
        self.cluster.on_change = self._wake
        self.faults = Faults()
        self.tokens = {TOKEN}
        self.nodes = {"n1", "n2"}
        self.forbidden: set[str] = set()
        self.requests: list[str] = []
        self.port = 0
        self._tls = tls
        self._changed = asyncio.Event()
        self._ends: set[asyncio.Event] = set()
        self._connections = Connections(self._serve)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Listen, like a server that starts."""
        self.port = await self._connections.listen(self.port, self._tls)

    async def close(self) -> None:
        """Close all connections, like a server that is killed."""
        self._connections.refuse()
        await self._connections.end()

    def cut(self) -> None:
        """Reset all connections."""
        self._connections.abort()

    def end(self) -> None:
        """End all watches properly."""
        for one in self._ends:
            one.set()
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    # Requests

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                await self._respond(head, writer)
        finally:
            writer.transport.abort()

    async def _respond(self, head: str, writer: asyncio.StreamWriter) -> None:
        method, target, _ = head.split("\r\n", 1)[0].split(" ")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:])
        }
        split = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(split.query).items()}
        assert method == "GET", "the agent only reads"
        assert set(query) <= _PARAMETERS, query
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self.tokens:
            code = 401 if token else 403  # without any, the user is system:anonymous
            await self._send(writer, code, status(code, "not allowed"))
            return
        match split.path.strip("/").split("/"):
            case ["version"]:
                await self._send_json(writer, "version", lambda: {"gitVersion": "v1.36.3"})
            case ["api", "v1", "namespaces", "kube-system"]:
                identity = {"metadata": {"uid": self.cluster.identity}}
                await self._send_json(writer, "identity", lambda: identity)
            case ["api", "v1", "nodes", name]:
                found = {"metadata": {"name": name}} if name in self.nodes else None
                await self._send_json(writer, "node", lambda: found)
            case ["api", "v1", *rest, ("pods" | "services") as kind]:
                await self._objects(writer, query, kind, rest)
            case ["apis", "discovery.k8s.io", "v1", *rest, "endpointslices"]:
                await self._objects(writer, query, "endpointslices", rest)
            case _:
                await self._send(writer, 404, status(404, "not found"))

    async def _objects(
        self, writer: asyncio.StreamWriter, query: Query, kind: str, rest: list[str]
    ) -> None:
        assert not rest or (rest[0], len(rest)) == ("namespaces", 2), rest
        if kind in self.forbidden:
            await self._send(writer, 403, status(403, f"{kind} is forbidden"))
            return
        matches = selector(query.get("fieldSelector", ""), rest[1] if rest else "")
        if query.get("watch") == "1":
            await self._watch(writer, query, kind, matches)
        else:
            await self._list(writer, query, kind, matches)

    async def _is_refused(self, writer: asyncio.StreamWriter, endpoint: str) -> bool:
        self.requests.append(endpoint)
        if endpoint in self.faults.silent and endpoint != "watch":
            await asyncio.Event().wait()
        if answers := self.faults.answers.get(endpoint):
            code, headers = answers.popleft()
            await self._send(writer, code, status(code, "broken"), headers)
            return True
        return False

    # Lists

    async def _list(
        self, writer: asyncio.StreamWriter, query: Query, kind: str, matches: Matches
    ) -> None:
        """Send a page. All pages show the cluster as it was at the first one."""
        cluster = self.cluster
        version, _, start = query.get("continue", f"{cluster.version}:0").partition(":")
        assert "resourceVersion" not in query, "a list of any version may be old"
        is_old = self.faults.expires_pages > 0 or int(version) < cluster.compacted
        if query.get("continue") and is_old:
            self.faults.expires_pages = max(0, self.faults.expires_pages - 1)
            await self._send(writer, 410, status(410, "The provided continue parameter is too old"))
            return
        found = cluster.matching_at(int(version), kind, matches)
        first, limit = int(start), int(query["limit"])
        metadata = {"resourceVersion": version}
        if len(found) > first + limit:
            metadata["continue"] = f"{version}:{first + limit}"
        items = found[first : first + limit]
        await self._send_json(writer, "list", lambda: {"metadata": metadata, "items": items})

    async def _send_json(
        self, writer: asyncio.StreamWriter, endpoint: str, make: Callable[[], Any]
    ) -> None:
        if await self._is_refused(writer, endpoint):
            return
        value = make()
        if value is None:
            await self._send(writer, 404, status(404, "not found"))
            return
        body = json.dumps(value).encode()
        whole = len(body)
        if bodies := self.faults.bodies.get(endpoint):
            body = bodies.popleft()(body)
            whole = max(whole, len(body))
        await self._send(writer, 200, body, {}, whole)

    async def _send(
        self,
        writer: asyncio.StreamWriter,
        code: int,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        whole: int = 0,
    ) -> None:
        length = max(whole, len(body))
        fields = {"Content-Type": "application/json", "Content-Length": length, **(headers or {})}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(f"HTTP/1.1 {code} So\r\n{lines}\r\n".encode() + body)
        await writer.drain()
        if length > len(body):
            writer.close()

    # Watches

    async def _watch(
        self, writer: asyncio.StreamWriter, query: Query, kind: str, matches: Matches
    ) -> None:
        is_stream = query.get("sendInitialEvents") == "true"
        if await self._is_refused(writer, "stream" if is_stream else "watch"):
            return
        if is_stream and not self.faults.streams_lists:
            message = "sendInitialEvents: Forbidden: not supported"
            await self._send(writer, 422, status(422, message))
            return
        if is_stream != ("resourceVersionMatch" in query):
            await self._send(writer, 422, status(422, "the two go together"))
            return
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        ending = asyncio.Event()
        self._ends.add(ending)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(int(query["timeoutSeconds"])):
                    await self._send_events(writer, query, (kind, matches), ending)
            writer.write(b"0\r\n\r\n")
        finally:
            self._ends.discard(ending)

    async def _send_events(
        self,
        writer: asyncio.StreamWriter,
        query: Query,
        wanted: tuple[str, Matches],
        ending: asyncio.Event,
    ) -> None:
        version = int(query.get("resourceVersion") or 0)
        if "sendInitialEvents" in query:
            if self.faults.ends_streams:
                self.faults.ends_streams -= 1
                return
            version = await self._send_initial(writer, wanted)
            ends_list = bookmark(version, {"k8s.io/initial-events-end": "true"})
            self._send_line(writer, "BOOKMARK", ends_list, "bookmark")
        began, bookmark_at = version, bookmark_time(query)
        while not ending.is_set() and not self.faults.ends_watches:
            if version < self.cluster.compacted:
                error = json.loads(status(410, "too old resource version"))
                self._send_line(writer, "ERROR", error, "error")
                return
            changed = self._changed
            if "watch" not in self.faults.silent:
                for type_, record in list(self.cluster.since(wanted[0], version, wanted[1])):
                    self._send_line(writer, type_, record, "watch")
                version = self.cluster.version
                if asyncio.get_running_loop().time() >= bookmark_at:
                    bookmark_at = math.inf
                    self._send_newest(writer, wanted[0], began)
            await writer.drain()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(None if math.isinf(bookmark_at) else bookmark_at):
                    await changed.wait()

    async def _send_initial(self, writer: asyncio.StreamWriter, wanted: tuple[str, Matches]) -> int:
        """Send a list and the changes since it began; return the version of its end."""
        version = self.cluster.version
        for record in self.cluster.matching(*wanted):
            self._send_line(writer, "ADDED", record, "stream")
        if self.faults.in_streams:
            await writer.drain()
            self.faults.in_streams.popleft()()
        for type_, record in self.cluster.since(wanted[0], version, wanted[1]):
            self._send_line(writer, type_, record, "stream")
        return self.cluster.version

    def _send_newest(self, writer: asyncio.StreamWriter, kind: str, began: int) -> None:
        """Send a bookmark, unless nothing has changed since a watch began."""
        if (newest := self.cluster.newest(kind)) > began:
            self._send_line(writer, "BOOKMARK", bookmark(newest, {}), "bookmark")

    def _send_line(
        self, writer: asyncio.StreamWriter, kind: str, record: Record, endpoint: str
    ) -> None:
        line = json.dumps({"type": kind, "object": record}).encode()
        is_mangled = endpoint == "watch" and self.faults.lines
        for one in self.faults.lines.popleft()(line) if is_mangled else [line]:
            data = one + b"\n"
            writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
