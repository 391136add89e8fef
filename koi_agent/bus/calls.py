"""Method calls as values, and their replies: what both kinds of connections share."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from koi_agent.bus.errors import BusLost, CallError
from koi_agent.bus.messages import Header, Message, MessageType, encode, marshal
from koi_agent.core.errors import BadInput

BUS: Final = "org.freedesktop.DBus"
BUS_PATH: Final = "/org/freedesktop/DBus"
PROPERTIES: Final = "org.freedesktop.DBus.Properties"
CALL_TIMEOUT: Final = 25.0
"""Seconds that a call may take; the default of libdbus."""
OPEN_TIMEOUT: Final = 5.0
"""Seconds from connect() to the answer of Hello."""
UNREADABLE_REPLY: Final = "org.freedesktop.DBus.Error.InconsistentMessage"


class Call(NamedTuple):
    """A method call of ``target`` (destination, path, interface).

    ``returns`` is the signature that the values of the reply must have, ``None`` for any.
    """

    target: tuple[str, str, str]
    member: str
    signature: str = ""
    body: Sequence[Any] = ()
    returns: str | None = None

    def frame(self, serial: int, flags: int = 0) -> bytes:
        """Return the message of the call."""
        destination, path, interface = self.target
        header = Header(
            kind=MessageType.CALL,
            flags=flags,
            serial=serial,
            path=path,
            interface=interface,
            member=self.member,
            destination=destination,
            signature=self.signature,
        )
        return encode(header, marshal(self.signature, self.body))


HELLO: Final = Call((BUS, BUS_PATH, BUS), "Hello")
"""The first call of every connection."""


def unique_name(reply: Message) -> str:
    """Return the name that the bus gives to a connection, from the reply to Hello.

    Raises ``BusLost`` or ``BadInput``.
    """
    if reply.header.kind != MessageType.RETURN or reply.header.signature != "s":
        answer = reply.header.error_name or f"values of type {reply.header.signature!r}"
        raise BusLost(f"the bus answered Hello with {answer}")
    return str(reply.values()[0])


def is_reply(header: Header) -> bool:
    """Return True for the header of a reply, whether it has values or an error."""
    return header.kind in (MessageType.RETURN, MessageType.ERROR)


def answer(reply: Message, returns: str | None = None) -> list[Any] | CallError:
    """Return the values or the error of a reply; values of other types are an error."""
    header = reply.header
    if header.kind == MessageType.RETURN and returns not in (None, header.signature):
        return CallError(
            UNREADABLE_REPLY, f"the reply is of type {header.signature!r}, not {returns!r}"
        )
    try:
        values = reply.values()
    except BadInput as error:
        return CallError(UNREADABLE_REPLY, str(error))
    if reply.header.kind == MessageType.ERROR:
        text = values[0] if values and isinstance(values[0], str) else ""
        return CallError(reply.header.error_name, text)
    return values


def values_of(reply: Message, returns: str | None = None) -> list[Any]:
    """Return the values of a reply, or raise its error, as ``answer`` does."""
    result = answer(reply, returns)
    if isinstance(result, CallError):
        raise result
    return result
