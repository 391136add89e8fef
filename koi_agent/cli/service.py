"""The agent as its clients see it: its names on the bus, and the questions they ask."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from itertools import starmap
from typing import Any, TypeVar

from koi_agent.bus.client import CallError, Link, address, connected
from koi_agent.bus.labels import decode
from koi_agent.bus.writer import BusLost
from koi_agent.core.errors import BadInput, KoiError

NAME = "org.sylin.koi.Runtime1"
ROOT = "/org/sylin/koi/Runtime1"
MANAGER = f"{NAME}.Manager"
INSTANCE = f"{NAME}.Instance"
BACKEND = f"{NAME}.Backend"
INSTANCES = f"{ROOT}/instance"

BUS_ERROR = "org.freedesktop.DBus.Error."
ABSENT = (BUS_ERROR + "ServiceUnknown", BUS_ERROR + "NameHasNoOwner")
WENT_AWAY = (BUS_ERROR + "NoReply", BUS_ERROR + "Disconnected")
DENIED = BUS_ERROR + "AccessDenied"
OTHER = {
    "system": "is dbus running here? --user asks the user's agent",
    "user": "is this a login session? --system asks the system's agent",
}
GONE = (BUS_ERROR + "UnknownObject", f"{NAME}.NoSuchInstance")

Properties = Mapping[str, Any]
T = TypeVar("T")


class NoAnswer(KoiError):
    """The agent can't be asked, or said no."""


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


class Service:
    """The agent, over one connection.

    All methods raise as ``Link.call`` does, and ``BadInput`` for an answer that is none.
    """

    def __init__(self, link: Link) -> None:
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
        rows = await self._call(ROOT, MANAGER, "ListBackends", returns=list)
        return [row[-1] for row in rows]

    async def explanation(self, key: str) -> Mapping[str, Any]:
        """Ask for an instance's explanation."""
        text = await self._call(ROOT, MANAGER, "Explain", key, returns=str)
        try:
            said = json.loads(text)
        except ValueError as error:
            raise nonsense("Explain") from error
        return said if isinstance(said, dict) else {}


def nonsense(member: str) -> BadInput:
    return BadInput(f"the agent's answer to {member} is none: is it of another version?")


def key_at(path: str) -> tuple[str, str]:
    """Tell backend and id of an instance by its object path."""
    backend, _, id_ = decode(path.rpartition("/")[2]).partition(":")
    return backend, id_


@asynccontextmanager
async def bus(scope: str) -> AsyncIterator[Link]:
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
async def agent(scope: str) -> AsyncIterator[Service]:
    """Connect to the agent on a bus; raises ``NoAnswer``."""
    async with bus(scope) as link:
        yield Service(link)


def advice(scope: str) -> str:
    """Say what to do about an agent that does not answer."""
    user = " --user" if scope == "user" else ""
    return f"is koi-runtime.service running? systemctl{user} status koi-runtime"


def _refusal(error: CallError, scope: str) -> str:
    if error.name in ABSENT:
        return f"the agent does not answer on the {scope} bus ({advice(scope)})"
    if error.name in WENT_AWAY:
        return f"the agent on the {scope} bus went away before it answered ({advice(scope)})"
    text = str(error).removeprefix(f"{error.name}: ")
    if error.name == DENIED:
        return f"the {scope} bus denies access to the agent: {text}"
    return f"the agent refused: {text}"


def _reason(lost: BusLost) -> str:
    cause = lost.__cause__
    return cause.strerror if isinstance(cause, OSError) and cause.strerror else str(lost)
