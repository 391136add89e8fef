"""Columns of all instances: what a table of thousands needs.

An array has the values of one property. Names and types of values are not repeated, so the reply
is much smaller than that of GetManagedObjects.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from koi_agent.bus.interfaces import Call, ErrorReply
from koi_agent.bus.marshalling import Typed
from koi_agent.bus.messages import marshal
from koi_agent.bus.object_manager import joined
from koi_agent.core.event_queue import EventQueue
from koi_agent.core.instance import Instance, PortSource, RecordState
from koi_agent.publishers.dbus.interfaces import INSTANCE_INTERFACE

INVALID: Final = "org.freedesktop.DBus.Error.InvalidArgs"


def _short_ports(instance: Instance) -> Sequence[tuple[int, int, str]]:
    return [
        (one.host_port, one.container_port, str(one.protocol))
        for one in instance.ports
        if one.source is not PortSource.CLUSTER
    ]


def _announced(instance: Instance) -> Sequence[str]:
    return [one.name for one in instance.announcements if one.state is RecordState.ANNOUNCED]


COLUMNS: Final[Mapping[str, tuple[str, Callable[[Instance], Any]]]] = {
    **{
        one.name: (one.signature, one.get)
        for one in INSTANCE_INTERFACE.properties.values()
        if "{" not in one.signature
    },
    "ShortPorts": ("a(qqs)", _short_ports),
    "Announced": ("as", _announced),
}
"""The signature of a column's values, and what returns the value of an instance, by name.

Dictionaries take long to marshal, and other tasks run only between two columns.
"""


class Columns:
    """Makes columns of the instances that ``queue`` knows; the last reply is kept."""

    def __init__(self, queue: EventQueue) -> None:
        self._queue = queue
        self._kept: tuple[int, Sequence[str], bytes] = (-1, (), b"")

    async def answer(self, _call: Call, names: Sequence[str]) -> bytes:
        """Return the body of the reply, as it was true when this began.

        Other tasks run between two columns. Raises ``ErrorReply``.
        """
        for name in names:
            if name not in COLUMNS:
                raise ErrorReply(INVALID, f"unknown column: '{name}'; use {', '.join(COLUMNS)}")
        version, instances = self._queue.version, list(self._queue.known.values())
        if self._kept[:2] != (version, names):
            columns = []
            for name in dict.fromkeys(names):
                columns.append(_column(name, instances))
                await asyncio.sleep(0)
            self._kept = version, names, joined(columns)
        return self._kept[2]


def _column(name: str, instances: Sequence[Instance]) -> bytes:
    """Return the entry of a column, marshalled as ``{sv}``."""
    signature, get = COLUMNS[name]
    column = Typed(f"a{signature}", [get(instance) for instance in instances])
    return marshal("a{sv}", ({name: column},))[8:]
