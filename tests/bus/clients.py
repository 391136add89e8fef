"""The command against an agent whose registry the test fills: its own bus, no runtime."""

import asyncio
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from koi_agent.bus.client import ReconnectingBus
from koi_agent.bus.server import Server
from koi_agent.capabilities.mdns.rules import MdnsRules
from koi_agent.core.errors import BackendLost, ConfigError
from koi_agent.core.events import Change, Gone, Listing, Seen
from koi_agent.core.instance import (
    UNIT,
    Instance,
    InstanceState,
    KoiMetadata,
    PortMapping,
    PortSource,
    Protocol,
    Refusal,
)
from koi_agent.core.key import Key
from koi_agent.core.plan.planner import Planner
from koi_agent.core.plan.records import Decision
from koi_agent.core.plan.requests import Policy
from koi_agent.core.registry import Registry
from koi_agent.publishers.dbus.manager import ManagerActions
from koi_agent.publishers.dbus.publisher import DBusPublisher
from tests.world.bus import PrivateBus

VERSION = "1.2.3"
WEB = Instance(
    id="web.service",
    name="web",
    backend="systemd",
    traits=UNIT,
    state=InstanceState.RUNNING,
    state_detail="active/running",
    image="/etc/systemd/system/web.service",
    ports=(
        PortMapping(
            container_port=80,
            protocol=Protocol.TCP,
            host_port=80,
            host_ip="::",
            source=PortSource.LISTENING,
        ),
    ),
    metadata=KoiMetadata(
        enable=True, txt=(("path", "/x"),), refused=(Refusal(key="X-Koi-Port", reason="no port"),)
    ),
    unit="web.service",
    main_pid=42,
    control_group="/system.slice/web.service",
    invocation_id=bytes(range(16)),
)
SHOP = Instance(
    id="0123456789ab",
    name="shop",
    backend="docker",
    state=InstanceState.PAUSED,
    ips=("172.17.0.2",),
    ports=(
        PortMapping(
            container_port=80,
            protocol=Protocol.TCP,
            host_port=8080,
            host_ip="0.0.0.0",
            source=PortSource.PUBLISHED,
        ),
    ),
    created_at=1_700_000_000_000_000,
)


@dataclass
class Control:
    """What LogControl1 shows and sets."""

    level: str = "info"
    target: str = "auto"


class Told:
    """An agent whose registry the test fills.

    ``different`` are the differences that a resync finds, ``lost`` the reasons why the resync of a
    backend fails. ``refusal`` is the reason why a reload fails, or "".
    """

    def __init__(
        self, backends: Sequence[str] = ("docker", "systemd"), *, version: str = VERSION
    ) -> None:
        self.registry = Registry({name: name for name in backends})
        wishes = ManagerActions(self._resync, self._reload, self._decisions)
        self.publisher = DBusPublisher(self.registry, version, wishes, Control())
        self.different: dict[str, dict[str, str]] = {}
        self.lost: dict[str, str] = {}
        self.refusal = ""
        self.reloads = 0

    def _decisions(self, key: Key) -> Sequence[Decision]:
        planner = Planner(MdnsRules(Policy(host_name="box")))
        for instance in self.registry.visible.values():
            planner.put(instance)
        planner.settle()
        decisions = planner.planned(key).decisions
        return [replace(one, capability="mdns") for one in decisions]

    async def _resync(self, backend: str) -> Mapping[str, Mapping[str, str]]:
        if backend in self.lost:
            raise BackendLost(self.lost[backend])
        return self.different

    async def _reload(self) -> None:
        if self.refusal:
            raise ConfigError(self.refusal)
        self.reloads += 1

    def tell(self, change: Change) -> None:
        self.publisher.publish(self.registry.apply(change, time.time_ns() // 1000))

    def see(self, instance: Instance, **changes: object) -> None:
        self.tell(Seen(replace(instance, **changes)))  # type: ignore[arg-type]

    def lose(self, instance: Instance, reason: str) -> None:
        self.tell(Gone(backend=instance.backend, id=instance.id, reason=reason))

    def list(self, *instances: Instance) -> None:
        for backend in self.registry.backends:
            of_it = [i for i in instances if i.backend == backend]
            self.tell(Listing(backend=backend, instances=of_it, endpoint="somewhere"))


@asynccontextmanager
async def agent(
    bus: PrivateBus, *instances: Instance, version: str = VERSION
) -> AsyncIterator[Told]:
    """Serve instances on a bus until the block is left."""
    told = Told(version=version)
    server = Server(told.publisher.tree)
    place = ReconnectingBus(bus.address, server.dispatch)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(job) for job in (place.run(), server.run())]
        told.list(*instances)
        tasks.append(group.create_task(told.publisher.run(place)))
        try:
            async with asyncio.timeout(60):
                await told.publisher.named.wait()
            told.publisher.enter("")
            yield told
        finally:
            for task in tasks:
                task.cancel()


@dataclass(frozen=True)
class Said:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


async def start(
    address: str, *arguments: str, env: Mapping[str, str] | None = None, stdout: int = PIPE
) -> Process:
    """Start the command on a bus, as the system's."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "koi_agent",
        "--system",
        *arguments,
        env=os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": address, "TZ": "UTC"} | dict(env or {}),
        stdout=stdout,
        stderr=PIPE,
    )


async def koi_runtime(
    bus: PrivateBus, *arguments: str, env: Mapping[str, str] | None = None
) -> Said:
    """Run the command on a bus to its end."""
    process = await start(bus.address, *arguments, env=env)
    out, err = await finished(process)
    assert process.returncode is not None
    assert "Traceback" not in err, err
    return Said(process.returncode, out, err)


async def finished(process: Process) -> tuple[str, str]:
    """Wait for a command's end; returns what it wrote that was not read yet."""
    try:
        async with asyncio.timeout(60):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        raise
    return (out or b"").decode(), (err or b"").decode()
