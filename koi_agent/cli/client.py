"""Calls the agent over D-Bus, one call at a time."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import starmap
from typing import Any, NamedTuple

from koi_agent.bus.address import address
from koi_agent.bus.blocking import BlockingConnection, connected
from koi_agent.bus.calls import PROPERTIES, Call
from koi_agent.bus.errors import BusLost, CallError
from koi_agent.bus.messages import Flag
from koi_agent.bus.object_paths import decode
from koi_agent.core.dbus_names import INSTANCE, MANAGER, NAME, ROOT
from koi_agent.core.errors import BadInput, KoiError

BUS_ERROR = "org.freedesktop.DBus.Error."
SYSTEMD = "org.freedesktop.systemd1"
SYSTEMD_MANAGER = (SYSTEMD, "/org/freedesktop/systemd1", f"{SYSTEMD}.Manager")
ABSENT = (
    *(BUS_ERROR + "ServiceUnknown", BUS_ERROR + "NameHasNoOwner"),
    # The bus asks systemd to start the agent: its unit is not enabled, or masked.
    *(f"{SYSTEMD}.NoSuchUnit", f"{SYSTEMD}.UnitMasked"),
)
WENT_AWAY = (BUS_ERROR + "NoReply", BUS_ERROR + "Disconnected")
DENIED = BUS_ERROR + "AccessDenied"
UNAUTHORIZED = (DENIED, BUS_ERROR + "InteractiveAuthorizationRequired")
AUTH_TIMEOUT = 180.0
"""Seconds for a call that needs authorization: polkit waits 120 s for a password."""
OTHER_BUS = {
    "system": "check that dbus is running, or use --user",
    "user": "run this in a login session, or use --system",
}
"""What to do if a bus does not answer, by scope."""
GONE = (BUS_ERROR + "UnknownObject", f"{NAME}.NoSuchInstance")
LACKING = (BUS_ERROR + "UnknownMethod", BUS_ERROR + "InvalidArgs")
AMBIGUOUS = f"{NAME}.AmbiguousName"

MANAGED_OBJECTS = "a{oa{sa{sv}}}"
"""The signature of the reply to GetManagedObjects."""
OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"
ROWS = "a(ssssso)"
"""The signature of the reply to ListInstances, whose rows are ``Row``."""
BACKEND_ROWS = "a(ssuo)"
"""The signature of the reply to ListBackends: name, state, instances, path."""

Properties = Mapping[str, Any]


class NoAnswer(KoiError):
    """The agent cannot be reached, or it returned an error."""


class OtherVersion(KoiError):
    """The agent has another version and cannot do what is requested."""


class Refused(KoiError):
    """The agent refused a privileged call, or the call failed."""


class Row(NamedTuple):
    """A row of ListInstances; its columns never change."""

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
    """Calls of the agent over one connection.

    All methods raise as ``BlockingConnection.call`` does, and ``BadInput`` for a malformed reply.
    """

    def __init__(self, link: BlockingConnection) -> None:
        self._link = link

    def _call(self, path: str, interface: str, member: str, *texts: str, returns: str) -> Any:
        """Call a method with string arguments and one return value, of type ``returns``."""
        call = Call((NAME, path, interface), member, "s" * len(texts), texts, returns)
        (value,) = self._link.values(call)
        return value

    def description(self, name: str) -> str:
        """Return Description= of a unit that the manager on the same bus has loaded, or ""."""
        with suppress(CallError, TimeoutError):
            (path,) = self._link.values(Call(SYSTEMD_MANAGER, "GetUnit", "s", (name,), "o"))
            value = self._link.get(SYSTEMD, path, f"{SYSTEMD}.Unit", "Description")
            return str(value)
        return ""

    def properties(self, path: str, interface: str) -> Properties:
        found: Properties = self._call(path, PROPERTIES, "GetAll", interface, returns="a{sv}")
        return found

    def instances(self) -> list[Properties]:
        """Return the properties of all instances, by one call."""
        return instances_of(
            self._call(ROOT, OBJECT_MANAGER, "GetManagedObjects", returns=MANAGED_OBJECTS)
        )

    def columns(self, names: Sequence[str]) -> dict[str, Any]:
        """Return columns of all instances by name; raise ``OtherVersion`` if one is unknown."""
        call = Call((NAME, ROOT, MANAGER), "GetColumns", "as", (names,), "a{sv}")
        try:
            (columns,) = self._link.values(call)
        except CallError as error:
            if error.name in LACKING:
                raise OtherVersion(text_of(error)) from error
            raise
        return dict(columns)

    def rows(self) -> list[Row]:
        """Return the short list of all instances."""
        return list(starmap(Row, self._call(ROOT, MANAGER, "ListInstances", returns=ROWS)))

    def of_unit(self, name: str) -> str:
        """Return the path of the instance of a unit."""
        path: str = self._call(ROOT, MANAGER, "GetInstanceByUnit", name, returns="o")
        return path

    def backend_paths(self) -> list[str]:
        return [row[-1] for row in self._backends()]

    def backend_states(self) -> Mapping[str, str]:
        """Return the states of the backends by name."""
        return {row[0]: row[1] for row in self._backends()}

    def _backends(self) -> list[list[Any]]:
        rows: list[list[Any]] = self._call(ROOT, MANAGER, "ListBackends", returns=BACKEND_ROWS)
        return rows

    def explanation(self, key: str) -> Mapping[str, Any]:
        """Return the explanation of an instance."""
        import json  # noqa: PLC0415 - other commands start faster without it

        text = self._call(ROOT, MANAGER, "Explain", key, returns="s")
        try:
            explanation = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise malformed("Explain") from error
        return explanation if isinstance(explanation, dict) else {}

    def resync(self, backend: str) -> Mapping[str, Any]:
        """List a backend again; return the differences, or raise ``Refused``."""
        different: Mapping[str, Any]
        (different,) = self._privileged_call("Resync", "sa{sv}", (backend, {}), "a{sv}")
        return different

    def reload(self) -> None:
        """Reload the configuration; raise ``Refused``."""
        self._privileged_call("Reload", "", (), "")

    def _privileged_call(
        self, member: str, signature: str, body: Sequence[Any], returns: str
    ) -> list[Any]:
        """Call a method that needs authorization; polkit may ask for a password."""
        flags = Flag.ALLOW_INTERACTIVE_AUTHORIZATION
        call = Call((NAME, ROOT, MANAGER), member, signature, body, returns)
        try:
            return self._link.values(call, within=AUTH_TIMEOUT, flags=flags)
        except CallError as error:
            if error.name in UNAUTHORIZED:
                raise Refused(f"{text_of(error)}; run the command as root") from error
            if error.name.startswith(f"{NAME}."):
                raise Refused(text_of(error)) from error
            raise


def instances_of(objects: Mapping[str, Any]) -> list[Properties]:
    """Return the properties of the instances among managed objects."""
    return [interfaces[INSTANCE] for interfaces in objects.values() if INSTANCE in interfaces]


def malformed(member: str) -> BadInput:
    return BadInput(f"agent: malformed reply to {member}; restart it if its version differs")


def key_at(path: str) -> tuple[str, str]:
    """Return backend and id of an instance by its object path."""
    backend, _, id_ = decode(path.rpartition("/")[2]).partition(":")
    return backend, id_


@contextmanager
def failures(scope: str) -> Iterator[None]:
    """Raise ``NoAnswer`` for every failure of a connection to the agent."""
    try:
        yield
    except BusLost as lost:
        text = f"{scope} bus at {address(scope)}: connection failed: {_reason(lost)}"
        raise NoAnswer(f"{text}; {OTHER_BUS[scope]}") from lost
    except TimeoutError as error:
        raise NoAnswer(f"agent on the {scope} bus: no reply in time; {advice(scope)}") from error
    except CallError as error:
        raise NoAnswer(_failure(error, scope)) from error


@contextmanager
def bus(scope: str) -> Iterator[BlockingConnection]:
    """Connect to a bus in order to call the agent; raise ``KoiError`` for every failure."""
    with failures(scope), connected(address(scope)) as link:
        yield link


@contextmanager
def agent(scope: str) -> Iterator[Client]:
    """Connect to the agent on a bus; raises ``NoAnswer``."""
    with bus(scope) as link:
        yield Client(link)


def advice(scope: str) -> str:
    """Return what to do if the agent does not answer."""
    user = " --user" if scope == "user" else ""
    return f"check systemctl{user} status koi-runtime"


def how_to_start(scope: str) -> str:
    """Return what to do if no agent runs and the bus starts none."""
    if scope == "user":
        return "start it: systemctl --user enable --now koi-runtime"
    start = "start it: systemctl enable --now koi-runtime"
    return start if os.getuid() == 0 else f"{start}; or use --user for an agent of your own"


def _failure(error: CallError, scope: str) -> str:
    subject = f"agent on the {scope} bus"
    if error.name in ABSENT:
        return f"{subject}: not running; {how_to_start(scope)}"
    if error.name in WENT_AWAY:
        return f"{subject}: disconnected before it replied; {advice(scope)}"
    if error.name == DENIED:
        return f"{subject}: access denied: {text_of(error)}"
    return f"{subject}: call failed: {text_of(error)}"


def text_of(error: CallError) -> str:
    """Return the text of an error, without its name."""
    return str(error).removeprefix(f"{error.name}: ")


def _reason(lost: BusLost) -> str:
    cause = lost.__cause__
    return cause.strerror if isinstance(cause, OSError) and cause.strerror else str(lost)
