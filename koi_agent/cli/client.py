"""The agent as its clients see it: the questions they ask, and what they wish it did."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from itertools import starmap
from typing import Any, TypeVar

from koi_agent.bus.address import address
from koi_agent.bus.client import CallError, Connection, connected
from koi_agent.bus.messages import Flag
from koi_agent.bus.object_paths import decode
from koi_agent.bus.writer import BusLost
from koi_agent.core.dbus_names import INSTANCE, MANAGER, NAME, ROOT
from koi_agent.core.errors import BadInput, KoiError

BUS_ERROR = "org.freedesktop.DBus.Error."
ABSENT = (BUS_ERROR + "ServiceUnknown", BUS_ERROR + "NameHasNoOwner")
WENT_AWAY = (BUS_ERROR + "NoReply", BUS_ERROR + "Disconnected")
DENIED = BUS_ERROR + "AccessDenied"
UNAUTHORIZED = (DENIED, BUS_ERROR + "InteractiveAuthorizationRequired")
WISH_TIMEOUT = 180.0
"""Seconds a wish may take: polkit gives somebody 120 to type a password."""
OTHER = {
    "system": "is dbus running here? --user asks the user's agent",
    "user": "is this a login session? --system asks the system's agent",
}
GONE = (BUS_ERROR + "UnknownObject", f"{NAME}.NoSuchInstance")

Properties = Mapping[str, Any]
T = TypeVar("T")


class NoAnswer(KoiError):
    """The agent can't be asked, or said no."""


class Refused(KoiError):
    """The agent will not do, or can't do, what was wished."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of ListInstances, whose columns are fixed for ever."""

    id: str
    name: str
    backend: str
    state: str
    health: str
    path: str

    @property
    def key(self) -> str:
        return f"{self.backend}:{self.id}"


class Client:
    """The agent, over one connection.

    All methods raise as ``Connection.call`` does, and ``BadInput`` for an answer that is none.
    """

    def __init__(self, link: Connection) -> None:
        self._link = link

    async def _call(
        self, path: str, interface: str, member: str, *texts: str, returns: type[T]
    ) -> T:
        """Call a method that takes strings and returns one value."""
        answer = await self._link.call((NAME, path, interface), member, "s" * len(texts), texts)
        if len(answer) != 1 or not isinstance(answer[0], returns):
            raise nonsense(member)
        return answer[0]

    async def properties(self, path: str, interface: str) -> Properties:
        properties = "org.freedesktop.DBus.Properties"
        return await self._call(path, properties, "GetAll", interface, returns=dict)

    async def instances(self) -> list[Properties]:
        """Read all instances whole, in one call."""
        manager = "org.freedesktop.DBus.ObjectManager"
        objects = await self._call(ROOT, manager, "GetManagedObjects", returns=dict)
        return [shown[INSTANCE] for shown in objects.values() if INSTANCE in shown]

    async def rows(self) -> list[Row]:
        """Read the short list of all instances."""
        rows = await self._call(ROOT, MANAGER, "ListInstances", returns=list)
        if any(len(row) != len(fields(Row)) for row in rows):
            raise nonsense("ListInstances")
        return list(starmap(Row, rows))

    async def of_unit(self, unit: str) -> str:
        """Find the path of what a unit is."""
        return await self._call(ROOT, MANAGER, "GetInstanceByUnit", unit, returns=str)

    async def backend_paths(self) -> list[str]:
        return [row[-1] for row in await self._backends()]

    async def backend_states(self) -> Mapping[str, str]:
        """Read how the backends are, by name."""
        return {row[0]: row[1] for row in await self._backends()}

    async def _backends(self) -> list[list[Any]]:
        """Read the short list of all backends: name, state, instances, path."""
        rows = await self._call(ROOT, MANAGER, "ListBackends", returns=list)
        if any(len(row) != 4 for row in rows):
            raise nonsense("ListBackends")
        return rows

    async def explanation(self, key: str) -> Mapping[str, Any]:
        """Ask for an instance's explanation."""
        text = await self._call(ROOT, MANAGER, "Explain", key, returns=str)
        try:
            said = json.loads(text)
        except ValueError as error:
            raise nonsense("Explain") from error
        return said if isinstance(said, dict) else {}

    async def resync(self, backend: str) -> Mapping[str, Any]:
        """Have a backend listed anew; returns how much was different. Raises ``Refused``."""
        (different,) = await self._wish("Resync", "sa{sv}", (backend, {}))
        if not isinstance(different, dict):
            raise nonsense("Resync")
        return different

    async def reload(self) -> None:
        """Have the configuration read anew; raises ``Refused``."""
        await self._wish("Reload", "", ())

    async def _wish(self, member: str, signature: str, body: Sequence[Any]) -> list[Any]:
        """Call a method that not everybody may; whoever is at the terminal may be asked."""
        flags = Flag.ALLOW_INTERACTIVE_AUTHORIZATION
        try:
            return await self._link.call(
                (NAME, ROOT, MANAGER), member, signature, body, within=WISH_TIMEOUT, flags=flags
            )
        except CallError as error:
            if error.name in UNAUTHORIZED:
                raise Refused(f"{text_of(error)} (try with sudo)") from error
            if error.name.startswith(f"{NAME}."):
                raise Refused(text_of(error)) from error
            raise


def nonsense(member: str) -> BadInput:
    return BadInput(f"the agent's answer to {member} is none: is it of another version?")


def key_at(path: str) -> tuple[str, str]:
    """Tell backend and id of an instance by its object path."""
    backend, _, id_ = decode(path.rpartition("/")[2]).partition(":")
    return backend, id_


@asynccontextmanager
async def bus(scope: str) -> AsyncIterator[Connection]:
    """Connect to a bus to talk with the agent; all that can go wrong is a ``KoiError``."""
    try:
        async with connected(address(scope)) as link:
            yield link
    except BusLost as lost:
        where = f"the {scope} bus at {address(scope)}"
        raise NoAnswer(f"{where} does not answer: {_reason(lost)} ({OTHER[scope]})") from lost
    except TimeoutError as error:
        raise NoAnswer(f"the agent on the {scope} bus does not answer ({advice(scope)})") from error
    except CallError as error:
        raise NoAnswer(_refusal(error, scope)) from error


@asynccontextmanager
async def agent(scope: str) -> AsyncIterator[Client]:
    """Connect to the agent on a bus; raises ``NoAnswer``."""
    async with bus(scope) as link:
        yield Client(link)


def advice(scope: str) -> str:
    """Say what to do about an agent that does not answer."""
    user = " --user" if scope == "user" else ""
    return f"is koi-runtime.service running? systemctl{user} status koi-runtime"


def _refusal(error: CallError, scope: str) -> str:
    if error.name in ABSENT:
        return f"the agent does not answer on the {scope} bus ({advice(scope)})"
    if error.name in WENT_AWAY:
        return f"the agent on the {scope} bus went away before it answered ({advice(scope)})"
    text = text_of(error)
    if error.name == DENIED:
        return f"the {scope} bus denies access to the agent: {text}"
    return f"the agent refused: {text}"


def text_of(error: CallError) -> str:
    """Tell what an error says, without its name."""
    return str(error).removeprefix(f"{error.name}: ")


def _reason(lost: BusLost) -> str:
    cause = lost.__cause__
    return cause.strerror if isinstance(cause, OSError) and cause.strerror else str(lost)
