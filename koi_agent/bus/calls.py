"""Method calls as values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from koi_agent.bus.messages import Header, MessageType, encode, marshal


@dataclass(frozen=True, slots=True)
class Call:
    """A method call of ``target`` (destination, path, interface)."""

    target: tuple[str, str, str]
    member: str
    signature: str = ""
    body: Sequence[Any] = ()

    def frame(self, serial: int, flags: int) -> bytes:
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
