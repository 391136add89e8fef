"""A fake systemd-machined on a real bus: its machines come and go, and its answers misbehave."""

import asyncio
import itertools
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final, Self

from koi_agent.backends.machined.manager import MACHINE, MACHINED, MANAGER, PATH
from koi_agent.bus.client import Connection, ReconnectingBus
from koi_agent.bus.messages import Flag, Header, Message, MessageType, marshal
from koi_agent.bus.object_paths import encode
from koi_agent.bus.variants import Variant

Reply = tuple[str, list[Any]]
Fault = Callable[[Reply], Reply]
"""Spoils the reply to a call, or raises ``Refused``."""
NO_NETWORK: Final = f"{MACHINED}.NoPrivateNetworking"


class Refused(Exception):
    """Raised to reply with an error of this name."""


class Silent(Exception):
    """Raised to send no reply."""


@dataclass(kw_only=True)
class FakeMachine:
    """A machine of the fake; ``addresses`` are bytes, or the name of an error."""

    name: str
    timestamp: int
    leader: int
    kind: str = "container"
    state: str = "running"
    unit: str = ""
    addresses: list[bytes] | str = field(default_factory=list)

    @property
    def path(self) -> str:
        return f"{PATH}/machine/{encode(self.name)}"

    def properties(self) -> dict[str, Any]:
        return {
            "Name": Variant("s", self.name),
            "Id": Variant("ay", b"\x01" * 16),
            "Timestamp": Variant("t", self.timestamp),
            "Service": Variant("s", "systemd-nspawn"),
            "Unit": Variant("s", self.unit or f"machine-{self.name}.scope"),
            "Leader": Variant("u", self.leader),
            "Class": Variant("s", self.kind),
            "RootDirectory": Variant("s", f"/var/lib/machines/{self.name}"),
            "NetworkInterfaces": Variant("ai", [7]),
            "State": Variant("s", self.state),
        }


class FakeMachined:
    """A service inside its context; ``asked`` has the calls. Faults are used up one by one.

    While it ``holds``, calls wait for ``release``.
    """

    def __init__(self, address: str) -> None:
        self.machines: dict[str, FakeMachine] = {}
        self.asked: list[str] = []
        self.flags: list[int] = []
        self.faults: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self.lost_signals = 0
        self.holds = False
        self._held: deque[tuple[Connection, Header]] = deque()
        self.extra_rows: list[list[Any]] = []
        self._address = address
        self._numbers = itertools.count(1)
        self._stack = AsyncExitStack()
        self._link: Connection | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Connect to the bus with the machines that there are, as after a restart."""
        bus = ReconnectingBus(self._address, self._on_call)
        async with AsyncExitStack() as stack:
            group = await stack.enter_async_context(asyncio.TaskGroup())
            stack.callback(group.create_task(bus.run()).cancel)
            link = await bus.connection()
            assert await link.request_name(MACHINED)
            self._link, self._stack = link, stack.pop_all()

    async def stop(self) -> None:
        """Leave the bus."""
        self._link = None
        await self._stack.aclose()

    # Machines

    def add(self, name: str, **more: Any) -> FakeMachine:
        number = next(self._numbers)
        machine = FakeMachine(
            name=name, timestamp=10**15 + number, leader=5_000_000 + number, **more
        )
        self.machines[name] = machine
        self._signal("MachineNew", machine)
        return machine

    def remove(self, name: str) -> None:
        if machine := self.machines.pop(name, None):
            self._signal("MachineRemoved", machine)

    def change(self, name: str) -> None:
        """Signal that a property of a machine has changed."""
        body = [MACHINE, {"State": Variant("s", self.machines[name].state)}, []]
        self._send(
            Header(
                kind=MessageType.SIGNAL,
                path=self.machines[name].path,
                interface="org.freedesktop.DBus.Properties",
                member="PropertiesChanged",
                signature="sa{sv}as",
            ),
            body,
        )

    def _signal(self, member: str, machine: FakeMachine) -> None:
        if self.lost_signals:
            self.lost_signals -= 1
            return
        self.emit(member, machine.name, machine.path)

    def emit(self, member: str, name: str, path: str) -> None:
        """Send a signal, whether it is true or not."""
        header = Header(
            kind=MessageType.SIGNAL, path=PATH, interface=MANAGER, member=member, signature="so"
        )
        self._send(header, [name, path])

    def _send(self, header: Header, body: list[Any]) -> None:
        if self._link and not self._link.closed:
            self._link.send(header, marshal(header.signature, body))

    # Answers

    def _on_call(self, link: Connection, message: Message) -> None:
        self.asked.append(message.header.member)
        self.flags.append(message.header.flags)
        self._held.append((link, message.header))
        if not self.holds:
            self.release()

    def release(self) -> None:
        """Answer all calls that wait, in order."""
        while self._held:
            link, asked = self._held.popleft()
            if not link.closed:
                self._answer(link, asked)

    def _answer(self, link: Connection, asked: Header) -> None:
        try:
            reply = self._reply(asked)
            if self.faults[asked.member]:
                reply = self.faults[asked.member].popleft()(reply)
            signature, values = reply
            answer = Header(kind=MessageType.RETURN, signature=signature)
        except Refused as refused:
            answer = Header(kind=MessageType.ERROR, error_name=str(refused), signature="s")
            signature, values = "s", ["refused"]
        except Silent:
            return
        answer.destination, answer.reply_serial = asked.sender, asked.serial
        link.send(answer, marshal(signature, values))

    def _reply(self, asked: Header) -> Reply:
        if asked.member == "ListMachines":
            host = [".host", "host", "", f"{PATH}/machine/_2ehost"]
            rows = [[one.name, one.kind, "systemd-nspawn", one.path] for one in self._all()]
            return "a(ssso)", [[host, *rows, *self.extra_rows]]
        machine = next((one for one in self._all() if one.path == asked.path), None)
        if machine is None:
            raise Refused("org.freedesktop.DBus.Error.UnknownObject")
        if asked.member == "GetAll":
            return "a{sv}", [machine.properties()]
        if isinstance(machine.addresses, str):
            raise Refused(machine.addresses)
        return "a(iay)", [[[_family(one), one] for one in machine.addresses]]

    def _all(self) -> list[FakeMachine]:
        return list(self.machines.values())

    @property
    def was_started_by_calls(self) -> bool:
        """True if a call could have started the service."""
        return any(not flags & Flag.NO_AUTO_START for flags in self.flags)


def _family(address: bytes) -> int:
    return 2 if len(address) == 4 else 10
