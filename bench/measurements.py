"""The table of all measurements: every row of ``make bench``, with its budget and its peer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

PARTS: Final = (
    "start",
    "command",
    "http_list",
    "units",
    "containers",
    "idle",
    "docker_flood",
    "growth",
    "kubernetes",
    "announce",
    "dns",
    "dns_host",
    "peers",
)
"""The modules that measure, in the order of the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One row of the table."""

    part: str
    """The module that measures it."""
    what: str
    unit: Literal["s", "ms", "MB", "KB", "%", ""]
    floor: str = ""
    """The peer or floor that the same run measures, in the same unit; "" for none."""
    budget: float | None = None
    bounds: Literal["ours", "ratio"] = "ours"
    """What the budget bounds: the figure of the agent, or its ratio to the peer."""
    of: Literal["median", "p99", "maximum"] = "median"


def start(configuration: str, budget: float | None) -> Mapping[str, Measurement]:
    what = f"exec until the name is owned, {configuration}"
    name = "start." + configuration.replace(" ", "_")
    row = Measurement(part="start", what=what, unit="s", floor="empty Python", budget=budget)
    ready = Measurement(part="start", what=f"exec until READY=1, {configuration}", unit="s")
    what = f"CPU until READY=1, {configuration}"
    cpu = Measurement(part="start", what=what, unit="s", floor="empty Python")
    return {f"{name}.owned": row, f"{name}.ready": ready, f"{name}.cpu": cpu}


def resident(configuration: str, budget: float | None) -> Mapping[str, Measurement]:
    name = f"start.{configuration.replace(' ', '_')}.resident"
    what = f"resident memory, {configuration}"
    row = Measurement(part="start", what=what, unit="MB", floor="empty Python", budget=budget)
    return {name: row}


def container_cycle(name: str, peer: str) -> Mapping[str, Measurement]:
    what = f"CPU of a container cycle, fake engine, beside {peer}"
    return {f"peers.{name}": Measurement(part="peers", what=what, unit="ms", floor=peer)}


def found_on_host(name: str, outlet: str, floor: str) -> Mapping[str, Measurement]:
    """Return the rows of names that this host finds through an outlet."""
    what = f"unit start until this host finds its name: {outlet}"
    row = Measurement(part="dns_host", what=what, unit="ms", floor=floor)
    query = Measurement(part="dns_host", what=f"one question to this host: {outlet}", unit="ms")
    return {f"dns_host.{name}": row, f"dns_host.{name}.query": query}


def command(name: str, what: str, floor: str, budget: float | None) -> Mapping[str, Measurement]:
    """Return the rows of a command: its duration and its processor time."""
    row = Measurement(part="command", what=what, unit="ms", floor=floor, budget=budget)
    cpu = Measurement(part="command", what=f"CPU of {what}", unit="ms", floor=floor)
    return {f"command.{name}": row, f"command.{name}.cpu": cpu}


def units(way: str, what: str, share: float, tail: float | None) -> Mapping[str, Measurement]:
    """Return the rows of units that start and stop in one way; ``tail`` bounds the p99."""
    delays = {
        f"units.{way}.{verb}.{of}": Measurement(
            part="units",
            what=f"unit {verb}, {what}: delay after systemd's signal, {of}",
            unit="ms",
            budget=10 if of == "median" else tail,
            of=of,
        )
        for verb in ("start", "stop")
        for of in ("median", "p99")
    }
    cpu = Measurement(
        part="units",
        what=f"CPU of a unit's start and stop, {what}",
        unit="ms",
        floor="manager and bus",
        budget=share,
        bounds="ratio",
    )
    reading = Measurement(
        part="units",
        what=f"CPU of only reading the signals of a start and stop, {what}",
        unit="ms",
        floor="manager and bus",
    )
    return {f"units.{way}.cpu": cpu, f"units.{way}.reading": reading, **delays}


def containers(present: int) -> Mapping[str, Measurement]:
    """Return the delays with so many containers present."""
    return {
        f"containers.{present}.{verb}": Measurement(
            part="containers",
            what=f"container {verb}, {present} present: delay after the engine's event",
            unit="ms",
            budget=5,
        )
        for verb in ("start", "stop")
    }


def flood(name: str, what: str, unit: Literal["s", "ms", "MB", "%"], budget: float) -> Measurement:
    return Measurement(part="docker_flood", what=f"10 000: {what}", unit=unit, budget=budget)


def kubernetes(kind: Literal["real", "fake"]) -> Mapping[str, Measurement]:
    """Return the rows of 5 000 pods and 500 changes a second, with one kind of API server."""

    def row(what: str, unit: Literal["s", "ms", "MB", "%", ""], **more: Any) -> Measurement:
        return Measurement(
            part="kubernetes", what=f"5 000 pods, {kind} API server: {what}", unit=unit, **more
        )

    rows = {
        "published": row("exec until published", "s"),
        "memory": row("memory above an agent without Kubernetes", "MB", budget=20),
        "after": row("the same after the changes", "MB", budget=20),
        "rate": row("changes a second, of 500", ""),
        "cpu": row("CPU at this rate", "%"),
        "delay": row("change until its signal, median", "ms"),
        "tail": row("change until its signal, p99", "ms", of="p99"),
        "stall": row("longest stall, with one list", "ms", budget=50),
    }
    return {f"kubernetes.{kind}.{name}": one for name, one in rows.items()}


MEASUREMENTS: Final[Mapping[str, Measurement]] = {
    **start("2 units", 0.35),
    **resident("2 units", 30),
    **start("50 containers and HTTP", 0.5),
    **resident("50 containers and HTTP", 50),
    **start("100 containers and 200 units", 1.0),
    **resident("100 containers and 200 units", None),
    **command("version", "`--version`", "empty Python", 50),
    **command("version_systemctl", "`--version` again", "`systemctl --version`", None),
    **command("list_300", "`list`, 300 instances", "busctl, GetManagedObjects", 80),
    **command("list_5000", "`list`, 5 000 instances", "busctl, GetManagedObjects", 400),
    "http.next": Measurement(
        part="http_list", what="HTTP list of 5 000", unit="ms", floor="`json.dumps` of it"
    ),
    "http.next.cpu": Measurement(
        part="http_list",
        what="CPU of the agent for an HTTP list of 5 000",
        unit="ms",
        floor="`json.dumps` of it",
    ),
    "http.managed": Measurement(
        part="http_list",
        what="GetManagedObjects of 5 000, the reply unread",
        unit="ms",
        floor="busctl, which reads it",
    ),
    "http.managed.cpu": Measurement(
        part="http_list",
        what="CPU of the agent for GetManagedObjects of 5 000",
        unit="ms",
        floor="CPU of busctl",
    ),
    **units("single", "one by one", 0.20, None),
    **units("burst", "bursts of 20", 0.18, 25),
    **containers(0),
    **containers(100),
    **containers(1000),
    "containers.dockerd.start": Measurement(
        part="containers",
        what="container start, real dockerd: delay after `docker events`",
        unit="ms",
        budget=5,
    ),
    "containers.dockerd.stop": Measurement(
        part="containers",
        what="container stop, real dockerd: delay after `docker events`",
        unit="ms",
        budget=5,
    ),
    "containers.dockerd.cpu": Measurement(
        part="containers",
        what="CPU of a container cycle",
        unit="ms",
        floor="dockerd and containerd",
        budget=4,
    ),
    "idle.wakeups": Measurement(
        part="idle",
        what="wakeups in 60 s at idle, all threads",
        unit="",
        floor="manager and bus",
        budget=0,
    ),
    "idle.cpu": Measurement(
        part="idle", what="CPU in 60 s at idle", unit="ms", floor="manager and bus"
    ),
    "flood.published": flood("published", "exec until published", "s", 2.5),
    "flood.inspected": flood("inspected", "exec until inspected", "s", 10),
    "flood.cpu": flood("cpu", "CPU at 2 000 events a second", "%", 60),
    "flood.late": flood("late", "last signal after the last event", "s", 0.2),
    "flood.stall": flood("stall", "longest stall in the flood", "ms", 60),
    "flood.resident": flood("resident", "resident memory after the flood", "MB", 90),
    "growth.opted_in": Measurement(
        part="growth",
        what="memory for each instance that opts in",
        unit="KB",
        floor="tracked only",
        budget=4.5,
    ),
    **kubernetes("real"),
    **kubernetes("fake"),
    "announce.all": Measurement(
        part="announce", what="exec until 1 000 containers are announced", unit="s"
    ),
    "announce.resolved": Measurement(
        part="announce",
        what="container start until a peer resolves its name, 1 000 announced",
        unit="ms",
        floor="Avahi alone",
    ),
    "announce.cpu": Measurement(
        part="announce",
        what="CPU of a container that is announced",
        unit="ms",
        floor="Avahi, the same container",
    ),
    "dns.server": Measurement(
        part="dns", what="container start until its name is resolved: server", unit="ms"
    ),
    "dns.hosts": Measurement(
        part="dns",
        what="container start until its name is resolved: hosts, dnsmasq",
        unit="ms",
        floor="a file that is written for dnsmasq",
    ),
    "dns.update": Measurement(
        part="dns",
        what="container start until its name is resolved: update, Knot",
        unit="ms",
        floor="nsupdate",
    ),
    "dns.webhook": Measurement(
        part="dns",
        what="container start until the provider has its name: webhook, external-dns",
        unit="ms",
        floor="one request to external-dns",
    ),
    "dns.zone": Measurement(
        part="dns", what="CPU of a zone of 10 000 names", unit="ms", budget=2000
    ),
    "dns.change": Measurement(
        part="dns",
        what="CPU of a change of one name, 10 000 names",
        unit="ms",
        floor="the same with 10 names",
        budget=1.5,
        bounds="ratio",
    ),
    **found_on_host("static", "static", "a file of static records"),
    **found_on_host("hook", "hook", ""),
    **found_on_host("server", "server, link", ""),
    "peers.node_exporter.resident": Measurement(
        part="peers",
        what="resident memory, 200 units",
        unit="MB",
        floor="node_exporter, systemd collector",
    ),
    "peers.node_exporter.cpu": Measurement(
        part="peers",
        what="CPU of one answer, 200 units: `/metrics`",
        unit="ms",
        floor="node_exporter and manager, a scrape",
    ),
    **container_cycle("koi", "upstream Koi"),
    **container_cycle("docker_gen", "docker-gen"),
    **container_cycle("registrator", "registrator"),
}
