"""D-Bus calls to systemd-machined, and the signals that are received from it.

D-Bus starts systemd-machined for any call. Without a machine it need not run, so no call of the
agent starts it.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, TypeVar

from koi_agent.backends.machined.machines import Machine, Network, network_from
from koi_agent.bus.calls import PROPERTIES, Call
from koi_agent.bus.client import BUS, BUS_PATH, CallError, Connection
from koi_agent.bus.errors import BusLost
from koi_agent.bus.messages import Flag
from koi_agent.bus.object_paths import encode
from koi_agent.bus.signals import PropertyFilter, Subscription
from koi_agent.core.errors import BackendLost, BadInput

T = TypeVar("T")

MACHINED: Final = "org.freedesktop.machine1"
PATH: Final = "/org/freedesktop/machine1"
MANAGER: Final = f"{MACHINED}.Manager"
MACHINE: Final = f"{MACHINED}.Machine"
INSPECT: Final = f"{MACHINED}.inspect-machines"
"""The action of polkit for what is read in a machine. Version 262 shows addresses without it."""
SIGNALS: Final = ("MachineNew", "MachineRemoved")
SYSTEMD: Final = "org.freedesktop.systemd1"
READ_TOGETHER: Final = 16
"""Machines that are read by one batch of calls. The bus allows 128 calls without a reply."""
ADDRESS_TIMEOUT: Final = 10.0
UNIT_TIMEOUT: Final = 5.0
"""Seconds to wait for addresses and for the control groups of units."""
_GONE: Final = frozenset({f"{MACHINED}.NoSuchMachine", "org.freedesktop.DBus.Error.UnknownObject"})
_DENIED: Final = frozenset(
    {
        "org.freedesktop.DBus.Error.AccessDenied",
        "org.freedesktop.DBus.Error.AuthFailed",
        "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
    }
)
_NO_NETWORK: Final = f"{MACHINED}.NoPrivateNetworking"
_NOT_SUPPORTED: Final = "org.freedesktop.DBus.Error.NotSupported"
_AWAY: Final = frozenset(
    f"org.freedesktop.DBus.Error.{name}" for name in ("NameHasNoOwner", "NoReply", "ServiceUnknown")
)
_UNIT_INTERFACES: Final = {".service": f"{SYSTEMD}.Service", ".scope": f"{SYSTEMD}.Scope"}


class Row(NamedTuple):
    """The columns of ListMachines that are used."""

    name: str
    kind: str
    path: str


Answer = dict[str, Any] | BadInput | None
"""The properties of a machine, the reason why they can't be used, or None if it is gone."""


def subscription(deliver: Callable[..., None]) -> Subscription:
    """Return the subscription of a session. Some properties of machines change without a signal."""
    rule = f"type='signal',sender='{MACHINED}',path='{PATH}',interface='{MANAGER}',member='{{}}'"
    changed = (
        f"type='signal',sender='{MACHINED}',path_namespace='{PATH}/machine',"
        f"interface='{PROPERTIES}',member='PropertiesChanged',arg0='{MACHINE}'"
    )
    return Subscription(
        sender=MACHINED,
        rules=(*map(rule.format, SIGNALS), changed),
        members=frozenset((MANAGER, member) for member in SIGNALS),
        filters=(PropertyFilter(MACHINE, {"State": "s", "NetworkInterfaces": "ai"}),),
        deliver=deliver,
    )


@asynccontextmanager
async def backend_errors() -> AsyncIterator[None]:
    """Raise errors of the bus as ``BackendLost``."""
    try:
        yield
    except (BusLost, CallError) as error:
        raise BackendLost(str(error)) from error
    except TimeoutError as error:
        raise BackendLost("systemd-machined does not answer") from error


async def is_running(connection: Connection) -> bool:
    """Return True if systemd-machined is on the bus; raise errors of the bus."""
    (is_owned,) = await connection.call((BUS, BUS_PATH, BUS), "NameHasOwner", "s", (MACHINED,))
    return bool(is_owned)


class Manager:
    """Calls to systemd-machined on one connection; all raise ``BackendLost``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def version(self) -> str:
        """Return the version of systemd, which is that of systemd-machined; "" if not known."""
        target = (SYSTEMD, "/org/freedesktop/systemd1", f"{SYSTEMD}.Manager", "Version")
        try:
            async with backend_errors():
                return str(await self._connection.get(*target))
        except BackendLost:
            return ""

    async def list_machines(self) -> list[Row] | None:
        """Return all machines, the host included; None if systemd-machined is not on the bus."""
        call = Call((MACHINED, PATH, MANAGER), "ListMachines", returns="a(ssso)")
        async with backend_errors():
            (reply,) = await self._connection.call_all([call], flags=Flag.NO_AUTO_START)
            if isinstance(reply, CallError):
                if reply.name in _AWAY:
                    return None
                raise reply
        return [Row(row[0], row[1], row[3]) for row in reply[0]]

    async def read(self, paths: Sequence[str]) -> list[Answer]:
        """Return the properties of some machines, in order."""
        calls = [
            Call((MACHINED, path, PROPERTIES), "GetAll", "s", (MACHINE,), "a{sv}") for path in paths
        ]
        async with backend_errors():
            replies = await self._connection.call_all(calls, flags=Flag.NO_AUTO_START)
        return [_properties(reply) for reply in replies]

    async def control_groups(self, units: Sequence[str]) -> list[str]:
        """Return the control groups of some units, in order; "" if one is not known."""
        calls = [_control_group_call(unit) for unit in units]
        try:
            async with backend_errors():
                replies = await self._connection.call_all(calls, within=UNIT_TIMEOUT)
        except BackendLost:
            return [""] * len(calls)
        return [_text(reply) for reply in replies]

    async def networks(self, machines: Sequence[Machine]) -> list[Network | None]:
        """Return the networks of some machines, in order; None for one that is gone."""
        calls = [
            Call((MACHINED, machine.path, MACHINE), "GetAddresses", returns="a(iay)")
            for machine in machines
        ]
        try:
            replies = await self._connection.call_all(
                calls, within=ADDRESS_TIMEOUT, flags=Flag.NO_AUTO_START
            )
        except TimeoutError:
            late = f"no answer within {ADDRESS_TIMEOUT:g} s"
            return [Network(problem=late) for _ in machines]
        except BusLost as error:
            raise BackendLost(str(error)) from error
        return [_network(reply) for reply in replies]


def _properties(reply: list[Any] | CallError) -> Answer:
    if not isinstance(reply, CallError):
        return dict(reply[0])
    if reply.name in _GONE:
        return None
    if reply.name in _AWAY:
        raise BackendLost("systemd-machined left the bus")
    return BadInput(str(reply))


def _network(reply: list[Any] | CallError) -> Network | None:
    if not isinstance(reply, CallError):
        try:
            return network_from(reply[0])
        except BadInput as bad:
            return Network(problem=str(bad))
    if reply.name in _GONE:
        return None
    if reply.name == _NO_NETWORK:
        return Network(is_host=True, is_final=True)
    if reply.name == _NOT_SUPPORTED:
        problem = "systemd-machined does not know the addresses of virtual machines"
        return Network(problem=problem, is_final=True)
    if reply.name in _DENIED:
        problem = f"access is denied; polkit must permit {INSPECT} to the system's agent"
        return Network(problem=problem, is_denied=True, is_final=True)
    return Network(problem=str(reply))


def _control_group_call(unit: str) -> Call:
    interface = _UNIT_INTERFACES.get(unit[unit.rfind(".") :], f"{SYSTEMD}.Service")
    target = (SYSTEMD, f"/org/freedesktop/systemd1/unit/{encode(unit)}", PROPERTIES)
    return Call(target, "Get", "ss", (interface, "ControlGroup"), "v")


def _text(reply: list[Any] | CallError) -> str:
    value = "" if isinstance(reply, CallError) else reply[0]
    return value if isinstance(value, str) else ""


def batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield many items in parts of ``READ_TOGETHER``."""
    for start in range(0, len(items), READ_TOGETHER):
        yield items[start : start + READ_TOGETHER]
