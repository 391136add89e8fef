"""The command, and an agent on a private bus whose registry the test fills."""

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
from koi_agent.core.reach.network import HostNetwork
from koi_agent.core.registry import Registry
from koi_agent.core.traits import UNIT
from koi_agent.publishers.dbus.configuration import ConfigurationStatus
from koi_agent.publishers.dbus.manager import ManagerActions
from koi_agent.publishers.dbus.publisher import DBusPublisher
from tests.unit.networks import LAN, LO, VPN
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

NETWORK = HostNetwork((LAN, LO, VPN))


@dataclass
class Control:
    """Level and target of the log."""

    level: str = "info"
    target: str = "auto"


class Agent:
    """An agent without backends.

    ``differences`` is the result of a resync, ``lost`` has the reason of each lost backend.
    ``reload_error`` is the error of a reload, "" if it succeeds.
    """

    def __init__(
        self, backends: Sequence[str] = ("docker", "systemd"), *, version: str = VERSION
    ) -> None:
        self.registry = Registry({name: name for name in backends})
        self.configuration = ConfigurationStatus()
        actions = ManagerActions(
            self._resync,
            self._reload,
            self._decisions,
            lambda: NETWORK,
            lambda: self.configuration,
        )
        self.publisher = DBusPublisher(self.registry, version, actions, Control())
        self.differences: dict[str, dict[str, str]] = {}
        self.lost: dict[str, str] = {}
        self.reload_error = ""
        self.reloads = 0

    def _decisions(self, key: Key) -> Sequence[Decision]:
        planner = Planner(MdnsRules(Policy(host_names=frozenset({"box"}))))
        for instance in self.registry.visible.values():
            planner.put(instance)
        planner.settle()
        decisions = planner.planned(key).decisions
        return [replace(one, capability="mdns") for one in decisions]

    async def _resync(self, backend: str) -> Mapping[str, Mapping[str, str]]:
        if reason := self.lost.get(backend):
            raise BackendLost(reason)
        return self.differences

    async def _reload(self) -> None:
        if self.reload_error:
            raise ConfigError(self.reload_error)
        self.reloads += 1

    def apply(self, change: Change) -> None:
        self.publisher.publish(self.registry.apply(change, time.time_ns() // 1000))

    def update(self, instance: Instance, **changes: object) -> None:
        self.apply(Seen(replace(instance, **changes)))  # type: ignore[arg-type]

    def remove(self, instance: Instance, reason: str) -> None:
        self.apply(Gone(backend=instance.backend, id=instance.id, reason=reason))

    def list(self, *instances: Instance) -> None:
        for backend in self.registry.backends:
            of_it = [i for i in instances if i.backend == backend]
            self.apply(Listing(backend=backend, instances=of_it, endpoint="somewhere"))


@asynccontextmanager
async def agent(
    bus: PrivateBus, *instances: Instance, version: str = VERSION
) -> AsyncIterator[Agent]:
    """Serve instances on a bus until the block is left."""
    running = Agent(version=version)
    server = Server(running.publisher.tree)
    place = ReconnectingBus(bus.address, server.dispatch)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(job) for job in (place.run(), server.run())]
        running.list(*instances)
        tasks.append(group.create_task(running.publisher.run(place)))
        try:
            async with asyncio.timeout(60):
                await running.publisher.named.wait()
            running.publisher.enter("")
            yield running
        finally:
            for task in tasks:
                task.cancel()


@dataclass(frozen=True)
class Result:
    """Exit code and output of a command."""

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
        env=os.environ
        | {"DBUS_SYSTEM_BUS_ADDRESS": address, "TZ": "UTC", "SYSTEMD_PAGER": ""}
        | dict(env or {}),
        stdout=stdout,
        stderr=PIPE,
    )


async def koi_runtime(
    bus: PrivateBus, *arguments: str, env: Mapping[str, str] | None = None
) -> Result:
    """Run the command on a bus to its end."""
    process = await start(bus.address, *arguments, env=env)
    out, err = await finished(process)
    assert process.returncode is not None
    assert "Traceback" not in err, err
    return Result(process.returncode, out, err)


async def finished(process: Process) -> tuple[str, str]:
    """Wait for a command's end; returns what it wrote that was not read yet."""
    try:
        async with asyncio.timeout(60):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        raise
    return (out or b"").decode(), (err or b"").decode()
