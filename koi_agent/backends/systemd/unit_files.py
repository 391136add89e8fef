"""What a unit's own files say: systemd keeps ``X-`` keys to itself, so we read them there.

``FragmentPath`` comes first, then ``DropInPaths`` in the order systemd gives them; they cover
type-level, template and dash-prefix drop-ins already. Nothing here raises for what a file
holds: a file that can't be read costs its unit the metadata, with one sentence that says why.
"""

import os
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from koi_agent.backends.systemd.file_contents import content
from koi_agent.core.errors import BadInput
from koi_agent.core.metadata.values import unit_boolean
from koi_agent.core.text import printable
from koi_agent.core.unit_file.specifiers import KNOWN, expand
from koi_agent.core.unit_file.syntax import Document, Entry, Ignored, parse, words

ANNOUNCE: Final = "KOI_MDNS_ANNOUNCE"
"""The one variable of ``Environment=`` that is read; no other leaves this module."""

_PREFIX = "X-Koi-"
_SECTION = "X-Koi"
_QUADLET = frozenset({"X-Container", "X-Pod", "X-Kube"})
_SERVICE_KEYS = frozenset(
    {
        *("Environment", "PrivateNetwork", "NetworkNamespacePath"),
        *("Restart", "RestartForceExitStatus", "Type", "BusName"),
    }
)
_TELLING = frozenset({"notify", "notify-reload", "dbus"})
"""Types of services that say by themselves when they are ready (systemd.service(5))."""
_MOST_PROBLEMS = 8
# A time stamp is as coarse as the kernel's tick: a file may change twice within one.
_SETTLED_NS = 100_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitFile:
    """What the files of one unit say together, specifiers expanded.

    ``assignments`` are (section, key, value) in order, resets included: whoever reads them
    merges them. ``container`` means Quadlet made the unit. ``private_network`` means the
    service has a network namespace of its own or joins one. ``restarts`` means that systemd
    may start it again by itself; where a file could not be read, so it may. ``tells`` means
    that the service says by itself when it is ready.
    """

    assignments: tuple[tuple[str, str, str], ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    container: bool = False
    private_network: bool = False
    restarts: bool = False
    tells: bool = False
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Page:
    """What one file says that matters here, the same for each unit it belongs to."""

    path: str
    entries: tuple[Entry, ...] = ()
    ignored: tuple[Ignored, ...] = ()
    container: bool = False


class Library:
    """Reads unit files, and reads no file again that has not changed: that costs one stat."""

    def __init__(self, *, limit: int = 4096) -> None:
        """``limit`` is how many files are remembered; the one unused longest goes first."""
        self._limit = limit
        self._pages: OrderedDict[str, tuple[tuple[int, ...], _Page]] = OrderedDict()

    def read(self, name: str, fragment: str, drop_ins: Sequence[str] = ()) -> UnitFile:
        """Say what the files of the unit of this name say; an empty path is no file."""
        pages: list[_Page] = []
        problems: list[str] = []
        for path in filter(None, (fragment, *drop_ins)):
            try:
                pages.append(self._page(path))
            except BadInput as trouble:
                where = printable(path)
                problems.append(f"{where} {trouble}: {name} has no metadata from its files")
        return _merged(name, pages, problems)

    def forget(self, path: str) -> None:
        """Read this file anew when it is next asked for."""
        self._pages.pop(path, None)

    def _page(self, path: str) -> _Page:
        try:
            status = os.stat(path)  # noqa: PTH116  # Path.stat is thrice the price, per file
            known = self._pages.get(path)
            if known is not None and known[0] == _signature(status):
                self._pages.move_to_end(path)
                return known[1]
            data, status = content(path, status)
        except OSError as error:
            raise BadInput(f"can't be read ({error.strerror or error})") from error
        except ValueError as error:
            raise BadInput("is not a path") from error
        page = _page(path, data)
        self._remember(path, status, page)
        return page

    def _remember(self, path: str, status: os.stat_result, page: _Page) -> None:
        self._pages.pop(path, None)
        if time.time_ns() - status.st_ctime_ns > _SETTLED_NS:
            self._pages[path] = (_signature(status), page)
        while len(self._pages) > self._limit:
            self._pages.popitem(last=False)


def _signature(status: os.stat_result) -> tuple[int, ...]:
    """Take what changes when a file does; the change time also tells of a chmod."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _page(path: str, data: bytes) -> _Page:
    try:
        document = parse(data)
    except BadInput as trouble:
        raise BadInput(f"can't be read ({trouble})") from trouble
    return _Page(
        path,
        tuple(entry for entry in document.entries if _matters(entry)),
        tuple(_meant_for_us(document)),
        not _QUADLET.isdisjoint(document.sections),
    )


def _is_ours(section: str, key: str) -> bool:
    return section == _SECTION or key.startswith(_PREFIX)


def _matters(entry: Entry) -> bool:
    if _is_ours(entry.section, entry.key):
        return True
    return entry.section == "Service" and entry.key in _SERVICE_KEYS


def _meant_for_us(document: Document) -> Iterator[Ignored]:
    return (line for line in document.ignored if _is_ours(line.section, line.text))


def _merged(name: str, pages: Sequence[_Page], unread: Sequence[str]) -> UnitFile:
    reading = _Reading(name)
    for page in pages:
        reading.take(page)
    problems = tuple(dict.fromkeys([*unread, *reading.problems]))[:_MOST_PROBLEMS]
    return UnitFile(
        assignments=() if unread else tuple(reading.assignments),
        environment=() if unread else tuple(reading.environment.items()),
        container=any(page.container for page in pages),
        private_network=reading.own_namespace or bool(reading.namespace_path),
        restarts=bool(unread) or reading.forced_restart or reading.restart != "no",
        tells=reading.tells and not unread,
        problems=problems,
    )


class _Reading:
    """The files of one unit, read one after the other."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.assignments: list[tuple[str, str, str]] = []
        self.environment: dict[str, str] = {}
        self.own_namespace = False
        self.namespace_path = ""
        self.restart = "no"
        self.forced_restart = False
        self.type = ""
        self.bus_name = ""
        self.problems: list[str] = []

    def take(self, page: _Page) -> None:
        for line in page.ignored:
            self._report(page, line, f"{line.reason}: ignored")
        for entry in page.entries:
            if _is_ours(entry.section, entry.key):
                value = self._expanded(page, entry, entry.value)
                self.assignments.append((entry.section, entry.key, value))
            elif entry.key == "Environment":
                self._take_environment(page, entry)
            elif entry.key == "Restart":
                self.restart = entry.value or self.restart
            elif entry.key == "RestartForceExitStatus":
                self.forced_restart = bool(entry.value)
            else:
                self._take_kind(entry)

    @property
    def tells(self) -> bool:
        """Whether the service says when it is ready; with a BusName= alone its Type= is dbus."""
        return self.type in _TELLING or (not self.type and bool(self.bus_name))

    def _take_kind(self, entry: Entry) -> None:
        if entry.key == "Type":
            self.type = entry.value
        elif entry.key == "BusName":
            self.bus_name = entry.value
        else:
            self._take_network(entry)

    def _take_environment(self, page: _Page, entry: Entry) -> None:
        """``config_parse_environ``: an empty value resets, the words before a fault stand."""
        if not entry.value:
            self.environment.clear()
        try:
            for word in words(entry.value):
                variable, equals, value = word.partition("=")
                if variable == ANNOUNCE and equals and _is_text(value):
                    self.environment[ANNOUNCE] = self._expanded(page, entry, value)
        except BadInput as trouble:
            self._report(page, entry, f"Environment=: {trouble}")

    def _take_network(self, entry: Entry) -> None:
        if entry.key == "PrivateNetwork":
            self.own_namespace = _boolean(entry.value, before=self.own_namespace)
        elif not entry.value or entry.value.startswith(("/", "%")):
            self.namespace_path = entry.value

    def _expanded(self, page: _Page, entry: Entry, value: str) -> str:
        text, left = expand(value, self.name)
        if left:
            which = f"{printable(entry.key, 64)}: {' '.join(left)} stays as it is"
            self._report(page, entry, f"{which}: only {KNOWN} are expanded")
        return text

    def _report(self, page: _Page, at: Entry | Ignored, what: str) -> None:
        self.problems.append(f"{printable(page.path)} line {at.line}: {what}")


def _boolean(value: str, *, before: bool) -> bool:
    """Read what systemd would: a word it does not know leaves what stood before."""
    try:
        return unit_boolean(value)
    except BadInput:
        return before


def _is_text(value: str) -> bool:
    """Tell whether systemd would take this as a variable's value."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
