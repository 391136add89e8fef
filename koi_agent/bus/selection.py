"""Reads a few properties of many objects, and skips the others unread.

The dictionaries of one reply mostly have the same entries in the same order. So the bytes at the
start of each entry, which are its name and its signature, are kept in the order in which they came,
and compared with the next dictionary before anything is read.
"""

from collections.abc import Mapping
from struct import Struct
from typing import Any, Final, NamedTuple

from koi_agent.bus import signatures
from koi_agent.bus.reader import (
    EIGHTS,
    PLAIN,
    UNREADABLE,
    Form,
    Read,
    array_extent,
    list_reader,
    read_signature,
    reader,
    skip,
)
from koi_agent.bus.signatures import SignatureType
from koi_agent.core.errors import BadInput

MANAGED_OBJECTS: Final = "a{oa{sa{sv}}}"
"""The signature of the reply to GetManagedObjects."""
DICTIONARIES: Final = "aa{sv}"
WIDTHS: Final = dict(zip("ybnqiuxtdh", (1, 4, 2, 2, 4, 4, 8, 8, 8, 4), strict=True))
"""Bytes of the numbers."""
STEPS_KEPT: Final = 512
"""Starts of entries that are kept. After that all are dropped and made again."""
NESTING: Final = 6
"""The containers around the properties in a reply to GetManagedObjects: arrays and entries."""


class Wanted(NamedTuple):
    """An entry that is read, and the key that it gets.

    ``kind`` is the signature that the value must have, or the wanted entries of each dictionary
    of an ``aa{sv}``. ``default`` is the value if there is no such entry.
    """

    key: str
    kind: "str | Selection"
    default: Any


Selection = Mapping[str, Wanted]
"""The wanted entries by name."""


class Step(NamedTuple):
    """The treatment of entries that start with ``head``.

    After ``size`` bytes, with ``key`` the value is read and kept. Without it, the value is skipped:
    by ``read``, or else by its length and ``rest`` more bytes, or by nothing if ``rest`` is 0.
    """

    head: bytes
    size: int
    rest: int
    key: str
    read: Read | None


def managed_objects(
    body: bytes, endian: int, interface: str, selection: Selection
) -> list[dict[str, Any]]:
    """Read the properties of one interface from the reply to GetManagedObjects.

    Returns a dictionary by key for each object that has the interface. Raises ``BadInput``.
    """
    try:
        return _managed_objects(body, PLAIN[endian], interface, selection)
    except UNREADABLE as error:
        raise BadInput(f"body is not {MANAGED_OBJECTS!r}: {error}") from error


def _managed_objects(
    body: bytes, form: Form, interface: str, selection: Selection
) -> list[dict[str, Any]]:
    length = Struct(form.order + "I")
    extent = array_extent(8, form.order)
    entries = Entries(selection, form._replace(depth=NESTING))
    mark = length.pack(len(interface)) + interface.encode() + b"\0"
    found: list[dict[str, Any]] = []
    at, end = extent(body, 0)
    while at < end:
        at += -at & 7
        at, last = extent(body, at + 5 + length.unpack_from(body, at)[0])
        while at < last:
            at += -at & 7
            if body.startswith(mark, at):
                values, at = entries.read(body, at + len(mark))
                found.append(values)
            else:
                at = extent(body, at + 5 + length.unpack_from(body, at)[0])[1]
        if at != last:
            raise BadInput("the interfaces end inside a value")
    if at != end or end != len(body):
        raise BadInput("the objects end inside a value")
    return found


class Entries:
    """Reads the wanted entries of dictionaries ``a{sv}``; ``form`` is that of their values."""

    def __init__(self, selection: Selection, form: Form) -> None:
        self._selection = selection
        self._form = form.inner
        self._extent = array_extent(8, form.order)
        self._length = Struct(form.order + "I").unpack_from
        self._text = reader("s", self._form)
        self._defaults = {one.key: one.default for one in selection.values()}
        self._steps: dict[bytes, Step] = {}
        self._order: list[Step] = []
        self._ends_early = False

    def read(self, data: bytes, at: int) -> tuple[dict[str, Any], int]:
        """Read a dictionary; see ``Read``."""
        at, end = self._extent(data, at)
        values = self._defaults.copy()
        start, length, is_next = at, self._length, data.startswith
        for head, size, rest, key, read in self._order:
            at += -at & 7
            if not is_next(head, at):
                break
            at += size
            if rest:
                at += rest + length(data, at)[0]
            elif key and read:
                values[key], at = read(data, at)
            elif read:
                _, at = read(data, at)
        else:
            if at == end or (self._order and self._ends_early and at < end):
                return values, end
        return self._read_by_name(data, start, end), end

    def _read_by_name(self, data: bytes, at: int, end: int) -> dict[str, Any]:
        """Read a dictionary with other entries than the last one, and keep their order."""
        values = self._defaults.copy()
        order: list[Step] = []
        while at < end:
            at += -at & 7
            step = self._step(data, at)
            order.append(step)
            value, at = self._value(step, data, at + step.size)
            if step.key:
                values[step.key] = value
        if at != end:
            raise BadInput("the properties end inside a value")
        self._keep(order)
        return values

    def _keep(self, order: list[Step]) -> None:
        """Keep an order; what follows all wanted entries need not be compared."""
        read = [number for number, step in enumerate(order, 1) if step.key]
        self._ends_early = len(read) == len(self._selection)
        self._order = order[: read[-1]] if self._ends_early and read else order

    def _value(self, step: Step, data: bytes, at: int) -> tuple[Any, int]:
        if step.read:
            return step.read(data, at)
        return None, at + (step.rest and step.rest + self._length(data, at)[0])

    def _step(self, data: bytes, start: int) -> Step:
        """Return the treatment of the entry at an offset."""
        at = start + 5 + self._length(data, start)[0]
        head = data[start : at + 2 + data[at]]
        step = self._steps.get(head)
        if step is None:
            if len(self._steps) >= STEPS_KEPT:
                self._steps.clear()
            step = self._steps[head] = self._new_step(head)
        return step

    def _new_step(self, head: bytes) -> Step:
        name, at = self._text(head, 0)
        signature, _ = read_signature(head, at)
        (kind,) = signatures.parse(signature)
        wanted = self._selection.get(name)
        if wanted and wanted.kind == signature:
            return Step(head, len(head), 0, wanted.key, reader(signature, self._form))
        if wanted and not isinstance(wanted.kind, str) and signature == DICTIONARIES:
            inner = Entries(wanted.kind, self._form.inner.inner.inner)
            extent = array_extent(4, self._form.order)
            return Step(head, len(head), 0, wanted.key, list_reader(extent, inner.read))
        return _skipping(head, kind, self._form)


def _skipping(head: bytes, kind: SignatureType, form: Form) -> Step:
    """Return the step that skips the value of an entry, which starts at a multiple of eight."""
    size = len(head)
    match kind.token:
        case "s" | "o":
            return Step(head, size + (-size & 3), 5, "", None)
        case "a":
            size += -size & 3
            padding = -(size + 4) & 7 if kind.children[0].token in EIGHTS else 0
            return Step(head, size, 4 + padding, "", None)
        case token if token in WIDTHS:
            width = WIDTHS[token]
            return Step(head, size + (-size & (width - 1)) + width, 0, "", None)
        case _:
            return Step(head, size, 0, "", lambda data, at: (None, skip(kind, form, data, at)))
