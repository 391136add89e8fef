"""A Docker API on a real socket without containers behind it, which may misbehave.

``faults`` hold how. Run as a program, it is the engine of a benchmark.
"""

import argparse
import asyncio
import json
import random
import re
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

from tests.runtimes.connections import Connections
from tests.runtimes.fake_containers import FakeContainer, FakeContainers, Record

RESENT: Final = 256
"""Events that dockerd sends again."""
MOST_MANGLED: Final = 2
"""Lines in a row on the runs of a container. A restart has at least three: if all were lost,
nothing could show it."""
_ON_RUNS: Final = frozenset({"start", "stop", "die", "destroy", "connect", "disconnect", "restart"})
_PATH: Final = re.compile(r"(?:/v[0-9.]+)?(?:/libpod)?/(.+)")


@dataclass
class Faults:
    """How an engine misbehaves.

    Endpoints are version, list, inspect, image, service and events.
    """

    silent: set[str] = field(default_factory=set)
    """Endpoints that read a request and never respond."""
    statuses: dict[str, deque[int]] = field(default_factory=dict)
    """HTTP error statuses of the next responses."""
    bodies: dict[str, deque[Callable[[bytes], bytes]]] = field(default_factory=dict)
    """Functions for the bodies of the next responses. A shorter body is cut off in the middle."""
    delays: dict[str, deque[float]] = field(default_factory=dict)
    """Seconds that the next responses take after they are made."""
    lines: deque[Callable[[bytes], list[bytes]]] = field(default_factory=deque)
    """Functions for the next lines of the event stream. After ``MOST_MANGLED`` lines on the runs of
    a container, the next one is sent as it is."""
    holds_events: bool = False
    """Whether events are held until ``release``."""


class FakeDocker:
    """One engine, used as a context manager."""

    def __init__(self, path: Path, *, podman: bool = False) -> None:
        self.path = path
        self.faults = Faults()
        self.containers = FakeContainers(self._emit)
        self.requests: list[str] = []
        self.images: dict[str, Record] = {}
        self.services: dict[str, Record] = {}
        self._podman = podman
        self._recent: deque[Record] = deque(maxlen=RESENT)
        self._streams: dict[asyncio.StreamWriter, frozenset[str]] = {}
        self._held: list[bytes] = []
        self._in_a_row: Counter[str] = Counter()
        self._connections = Connections(self._serve)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Listen, like a daemon that starts."""
        await self._connections.listen_at(self.path)

    async def close(self) -> None:
        """Close all connections, like a daemon that is killed."""
        self._connections.refuse()
        self.path.unlink(missing_ok=True)
        self.cut()
        await self._connections.end()

    # Events

    def is_followed(self) -> bool:
        """Return True if a client reads events."""
        return bool(self._streams)

    def _emit(self, event: Record) -> None:
        is_mangled = self._is_mangled(event)
        if self._podman:
            event = podman_event(event)
        self._recent.append(event)
        line = json.dumps(event).encode() + b"\n"
        self._held += self.faults.lines.popleft()(line) if is_mangled else [line]
        if not self.faults.holds_events:
            self.release()

    def _is_mangled(self, event: Record) -> bool:
        """Return True if the line of an event is to be mangled."""
        if event["Action"] not in _ON_RUNS:
            return bool(self.faults.lines)
        id_ = event["Actor"]["Attributes"].get("container", event["Actor"]["ID"])
        is_mangled = bool(self.faults.lines) and self._in_a_row[id_] < MOST_MANGLED
        self._in_a_row[id_] = self._in_a_row[id_] + 1 if is_mangled else 0
        return is_mangled

    def release(self) -> None:
        """Send the events that were held."""
        lines, self._held = self._held, []
        for line in lines:
            self.send(line)

    def send(self, line: bytes) -> None:
        """Send a line to the streams that want it."""
        for writer, wanted in list(self._streams.items()):
            if _is_wanted(line, wanted):
                writer.write(b"%x\r\n%s\r\n" % (len(line), line))

    def reverse_held(self) -> None:
        """Reverse the order of the events that are held."""
        self._held.reverse()

    def forget_events(self) -> None:
        """Forget the recent events, like a daemon that was restarted."""
        self._recent.clear()

    def end(self) -> None:
        """End the event streams, as Podman does when it is idle."""
        for writer in list(self._streams):
            writer.write(b"0\r\n\r\n")
        self._streams.clear()

    def cut(self) -> None:
        """End the event streams in the middle of a line."""
        for writer in list(self._streams):
            writer.write(b'40\r\n{"status":')
            writer.close()
        self._streams.clear()

    # Responses

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await self._respond(head.split(b" ")[1].decode(), writer)
        finally:
            self._streams.pop(writer, None)

    async def _respond(self, target: str, writer: asyncio.StreamWriter) -> None:
        split = urlsplit(target)
        found = _PATH.fullmatch(split.path)
        words = found[1].split("/") if found else []
        match words:
            case ["containers", "json"]:
                await self._send_json(writer, "list", self._list)
            case ["containers", id_, "json"]:
                await self._send_json(writer, "inspect", lambda: self._inspect(id_))
            case ["images", digits, "json"]:
                await self._send_json(writer, "image", lambda: self.images.get(digits))
            case ["services", id_]:
                await self._send_json(writer, "service", lambda: self.services.get(id_))
            case ["version"]:
                await self._send_json(writer, "version", self._version)
            case ["info"]:  # for older agents, with which bench/ compares
                await self._send_json(writer, "info", lambda: {"CgroupDriver": "systemd"})
            case ["events"]:
                await self._stream(writer, parse_qs(split.query))
            case _:
                await self._send(writer, 404, b'{"message":"page not found"}')

    async def _send_json(
        self, writer: asyncio.StreamWriter, endpoint: str, make: Callable[[], Any]
    ) -> None:
        self.requests.append(endpoint)
        faults = self.faults
        if endpoint in faults.silent:
            await asyncio.Event().wait()
        if statuses := faults.statuses.get(endpoint):
            await self._send(writer, statuses.popleft(), b'{"message":"it is broken"}')
            return
        value = make()
        if delays := faults.delays.get(endpoint):
            await asyncio.sleep(delays.popleft())
        body = json.dumps({"message": "no such container"} if value is None else value).encode()
        whole = len(body)
        if bodies := faults.bodies.get(endpoint):
            body = bodies.popleft()(body)
            whole = max(whole, len(body))
        await self._send(writer, 404 if value is None else 200, body, whole)

    async def _send(
        self, writer: asyncio.StreamWriter, status: int, body: bytes, whole: int | None = None
    ) -> None:
        length = len(body) if whole is None else whole
        head = f"HTTP/1.1 {status} So\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {length}\r\n\r\n".encode() + body)
        if length > len(body):
            writer.close()
        await writer.drain()

    async def _stream(self, writer: asyncio.StreamWriter, query: dict[str, list[str]]) -> None:
        self.requests.append("events")
        if "events" in self.faults.silent:
            await asyncio.Event().wait()
        if statuses := self.faults.statuses.get("events"):
            await self._send(writer, statuses.popleft(), b'{"message":"no events"}')
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
        writer.write(b"Transfer-Encoding: chunked\r\n\r\n")
        wanted = frozenset(json.loads(query["filters"][0])["event"])
        seconds, _, fraction = query["since"][0].partition(".")
        since = int(seconds) * 1_000_000_000 + int(fraction or "0")
        for event in self._recent:
            line = json.dumps(event).encode() + b"\n"
            if event["timeNano"] >= since and _is_wanted(line, wanted):
                writer.write(b"%x\r\n%s\r\n" % (len(line), line))
        self._streams[writer] = wanted

    def _list(self) -> list[Record]:
        return [one.listed() for one in self.containers.running().values()]

    def _inspect(self, id_: str) -> Record | None:
        container = self.containers.all.get(id_)
        return container.inspected() if container else None

    def _version(self) -> Record:
        name = "Podman Engine" if self._podman else "Engine"
        return {"Version": "0.1", "ApiVersion": "1.41", "Components": [{"Name": name}]}


def podman_event(event: Record) -> Record:
    """Return an event as Podman writes it."""
    action, _, health = event["Action"].partition(": ")
    action = {"destroy": "remove"}.get(action, action)
    event = event | {"Action": action, "status": action}
    if health:
        event["HealthStatus"] = health
    if event["Type"] == "network":
        attributes = event["Actor"]["Attributes"]
        actor = {"ID": attributes["container"], "Attributes": {"network": attributes["name"]}}
        event["Actor"] = actor
    return event


def _is_wanted(line: bytes, wanted: frozenset[str]) -> bool:
    try:
        action = json.loads(line)["Action"]
    except (ValueError, KeyError, TypeError):
        return True
    return action.partition(":")[0] in wanted


async def flood(fake: FakeDocker, rate: int, seconds: float) -> int:
    """Emit ``rate`` events a second for some seconds; return how many it were."""
    containers = list(fake.containers.all.values())
    loop = asyncio.get_running_loop()
    began, sent = loop.time(), 0
    actions: list[tuple[Callable[[FakeContainer], None], int]] = [
        (fake.containers.toggle_health, 1),
        (fake.containers.rename, 1),
        (fake.containers.toggle_network, 1),
        (fake.containers.restart, 6),
    ]
    while (passed := loop.time() - began) < seconds:
        while sent < passed * rate:
            action, count = random.choices(actions, (6, 2, 2, 1))[0]
            action(random.choice(containers))
            sent += count
        await asyncio.sleep(0.005)
    return sent


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("socket", type=Path)
    parser.add_argument("--containers", type=int, default=10_000)
    arguments = parser.parse_args()
    loop = asyncio.get_running_loop()
    async with FakeDocker(arguments.socket) as fake:
        for number in range(arguments.containers):
            labels = {"com.docker.compose.service": f"s{number}", "koi.enable": "true"}
            fake.containers.run(labels=labels, port=1024 + number % 60_000, health="healthy")
        print("ready", flush=True)  # noqa: T201 - for the starter
        while line := await loop.run_in_executor(None, input_line):
            rate, seconds = line.split()
            sent = await flood(fake, int(rate), float(seconds))
            print(sent, flush=True)  # noqa: T201 - as above


def input_line() -> str:
    try:
        return input()
    except EOFError:
        return ""


if __name__ == "__main__":
    asyncio.run(main())
