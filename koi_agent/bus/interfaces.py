"""The vocabulary a D-Bus API is written down in: tables of methods, properties and signals."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from koi_agent.bus.client import Connection
from koi_agent.core.errors import KoiError


class Emits(StrEnum):
    """Values of org.freedesktop.DBus.Property.EmitsChangedSignal."""

    TRUE = "true"
    INVALIDATES = "invalidates"
    CONST = "const"
    FALSE = "false"


class ErrorReply(KoiError):
    """Raised to answer a call with an error; ``name`` is its D-Bus name, the text is shown."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


@dataclass(frozen=True, slots=True)
class Call:
    """A call under way: by which link, of which object, by whom (a unique name).

    ``interactive`` says that the caller may be asked for a password.
    """

    link: Connection
    path: str
    sender: str
    interactive: bool


Args = tuple[tuple[str, str], ...]
"""Names and signatures, in order."""
Handler = Callable[..., Sequence[Any] | Awaitable[Sequence[Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A method: ``handle(call, *arguments)`` answers its return values, now or later.

    ``action`` names the polkit action a caller must be allowed, "" where everybody may call.
    """

    name: str
    handle: Handler
    takes: Args = ()
    returns: Args = ()
    action: str = ""

    @property
    def signature(self) -> str:
        return "".join(kind for _, kind in self.takes)

    @property
    def answer(self) -> str:
        return "".join(kind for _, kind in self.returns)


@dataclass(frozen=True, slots=True)
class Property:
    """A property: ``get(subject)`` of the object it is asked of; read-only without ``set``.

    ``set(subject, value)`` gets a value of the right type, and raises ``BadInput`` for one it
    does not take. ``action`` names the polkit action that who sets it must be allowed, "" where
    everybody may. ``help`` is a sentence for introspection.
    """

    name: str
    signature: str
    emits: Emits
    get: Callable[[Any], Any]
    set: Callable[[Any, Any], None] | None = field(default=None, kw_only=True)
    action: str = field(default="", kw_only=True)
    help: str = field(default="", kw_only=True)


@dataclass(frozen=True, slots=True)
class SignalType:
    """A signal's name and arguments, for introspection."""

    name: str
    args: Args


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """An interface: its members by name."""

    name: str
    methods: dict[str, Method] = field(default_factory=dict)
    properties: dict[str, Property] = field(default_factory=dict)
    signals: tuple[SignalType, ...] = ()


def interface(name: str, *members: Method | Property | SignalType) -> Interface:
    """Make an interface of its members."""
    return Interface(
        name=name,
        methods={m.name: m for m in members if isinstance(m, Method)},
        properties={m.name: m for m in members if isinstance(m, Property)},
        signals=tuple(m for m in members if isinstance(m, SignalType)),
    )
