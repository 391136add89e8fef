"""Tables that describe a D-Bus API: interfaces with their methods, properties and signals."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import field
from enum import StrEnum
from typing import Any

from koi_agent.bus.client import Connection
from koi_agent.core.errors import KoiError
from koi_agent.core.frozen import frozen


class Emits(StrEnum):
    """Values of org.freedesktop.DBus.Property.EmitsChangedSignal."""

    TRUE = "true"
    INVALIDATES = "invalidates"
    CONST = "const"
    FALSE = "false"


class ErrorReply(KoiError):
    """Raised to reply with an error: its D-Bus name, and a text for the caller to read."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


@frozen()
class Call:
    """A call under way.

    ``sender`` is the unique name of the caller, and ``uid`` its user. With ``interactive`` the
    caller's user may be asked for a password.
    """

    connection: Connection
    path: str
    sender: str
    uid: int
    interactive: bool


Args = tuple[tuple[str, str], ...]
"""Arguments in order, each a name and a signature."""
Handler = Callable[..., Sequence[Any] | Awaitable[Sequence[Any]]]


@frozen(kw_only=True)
class Method:
    """A method: ``handle(call, *arguments)`` returns its return values, or an awaitable of them.

    ``action`` is the polkit action that the caller must be authorized for, "" for none. A method
    that ``acts`` changes something. Others only return something, so they are not called for a
    caller that expects no reply, or that is gone. A reply that is ``large`` and takes time is made
    before the next call of its user is answered.
    """

    name: str
    handle: Handler
    takes: Args = ()
    returns: Args = ()
    action: str = ""
    acts: bool = False
    large: bool = False

    @property
    def signature(self) -> str:
        return "".join(kind for _, kind in self.takes)

    @property
    def return_signature(self) -> str:
        return "".join(kind for _, kind in self.returns)


@frozen()
class Property:
    """A property: ``get(subject)`` returns its value for an object; read-only without ``set``.

    ``set(subject, value)`` gets a value of the right type, and raises ``BadInput`` if it is
    not valid. ``action`` is the polkit action that setting it requires, "" for none. ``help``
    is a sentence for introspection.
    """

    name: str
    signature: str
    emits: Emits
    get: Callable[[Any], Any]
    set: Callable[[Any, Any], None] | None = field(default=None, kw_only=True)
    action: str = field(default="", kw_only=True)
    help: str = field(default="", kw_only=True)


@frozen()
class SignalType:
    """The name and arguments of a signal, for introspection."""

    name: str
    args: Args


@frozen(kw_only=True)
class Interface:
    """An interface: its methods and properties by name, and its signals."""

    name: str
    methods: dict[str, Method] = field(default_factory=dict)
    properties: dict[str, Property] = field(default_factory=dict)
    signals: tuple[SignalType, ...] = ()


def interface(name: str, *members: Method | Property | SignalType) -> Interface:
    """Build an interface of its members."""
    return Interface(
        name=name,
        methods={m.name: m for m in members if isinstance(m, Method)},
        properties={m.name: m for m in members if isinstance(m, Property)},
        signals=tuple(m for m in members if isinstance(m, SignalType)),
    )
