"""The contents of the files of one unit, merged as systemd does.

Only a file that can't be read as a whole raises ``BadInput``. Any other error in a file is one of
the ``problems``.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.metadata.switches import is_switch
from koi_agent.core.metadata.values import unit_boolean
from koi_agent.core.reach.filters import OPEN, AddressFilter
from koi_agent.core.text import printable
from koi_agent.core.unit_file.filters import FILTER_KEYS, FilterSettings
from koi_agent.core.unit_file.specifiers import expand
from koi_agent.core.unit_file.syntax import Document, Entry, Ignored, parse, words
from koi_agent.host.identity import Meaning

ANNOUNCE: Final = "KOI_MDNS_ANNOUNCE"
"""The only variable of ``Environment=`` that is read; no other leaves this module."""

_PREFIX = "X-Koi-"
_SECTION = "X-Koi"
_ENABLE = "X-Koi-Enable"
_QUADLET_SECTIONS = frozenset({"X-Container", "X-Pod", "X-Kube"})
_SERVICE_KEYS = frozenset(
    {
        *("Environment", "PrivateNetwork", "NetworkNamespacePath"),
        *("Restart", "RestartForceExitStatus", "Type", "BusName"),
        *FILTER_KEYS,
    }
)
_NOTIFYING_TYPES = frozenset({"notify", "notify-reload", "dbus"})
"""Types of services that report when they are ready (systemd.service(5))."""
_MAX_PROBLEMS = 8

Specifiers = Mapping[str, Meaning]


@frozen(kw_only=True)
class UnitFile:
    """The merged contents of the files of one unit, with specifiers expanded.

    - ``assignments`` are (section, key, value) in order, with the empty values that reset.
    - ``refused`` are positions of assignments that can't be used, and the reasons.
    - ``from_quadlet`` is true for a unit that Quadlet generated.
    - ``private_network`` is true if the service has or joins a network namespace.
    - ``may_restart`` is true if systemd may start the unit again by itself, or if a file could
      not be read.
    - ``notifies_ready`` is true if the service reports when it is ready.
    - ``address_filter`` is the firewall of the unit.
    """

    assignments: tuple[tuple[str, str, str], ...] = ()
    refused: tuple[tuple[int, str], ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    from_quadlet: bool = False
    private_network: bool = False
    may_restart: bool = False
    notifies_ready: bool = False
    address_filter: AddressFilter = OPEN
    problems: tuple[str, ...] = ()


@frozen()
class UsedFile:
    """The used contents of one file, shared by the units that the file belongs to."""

    path: str
    entries: tuple[Entry, ...] = ()
    ignored: tuple[Ignored, ...] = ()
    from_quadlet: bool = False


def used_contents(path: str, data: bytes) -> UsedFile:
    """Parse a file; raises ``BadInput`` with the reason if it can't be read as a whole."""
    try:
        document = parse(data)
    except BadInput as error:
        raise BadInput(f"can't be read: {error}") from error
    return UsedFile(
        path,
        tuple(entry for entry in document.entries if _is_used(entry)),
        tuple(_ignored_of_ours(document)),
        not _QUADLET_SECTIONS.isdisjoint(document.sections),
    )


def _is_ours(section: str, key: str) -> bool:
    """Return True for a key of the agent. One in the wrong case is included: it is reported."""
    return section.lower() == _SECTION.lower() or key[: len(_PREFIX)].lower() == _PREFIX.lower()


def _is_used(entry: Entry) -> bool:
    if _is_ours(entry.section, entry.key):
        return True
    return entry.section == "Service" and entry.key in _SERVICE_KEYS


def _ignored_of_ours(document: Document) -> Iterator[Ignored]:
    return (line for line in document.ignored if _is_ours(line.section, line.text))


def merged(
    name: str, files: Sequence[UsedFile], unreadable: Sequence[str], specifiers: Specifiers
) -> UnitFile:
    """Return what the files of a unit contain; ``unreadable`` are the problems of the others.

    ``specifiers`` are those that do not follow from the unit's name, by their letter.
    """
    merge = _Merge(name, specifiers)
    for file in files:
        merge.add(file)
    problems = tuple(dict.fromkeys([*unreadable, *merge.problems]))[:_MAX_PROBLEMS]
    return UnitFile(
        assignments=() if unreadable else tuple(merge.assignments),
        refused=() if unreadable else tuple(merge.refused.items()),
        environment=() if unreadable else tuple(merge.environment.items()),
        from_quadlet=any(file.from_quadlet for file in files),
        private_network=merge.private_network or bool(merge.namespace_path),
        may_restart=bool(unreadable) or merge.forced_restart or merge.restart != "no",
        notifies_ready=merge.notifies_ready and not unreadable,
        address_filter=merge.filters.result(),
        problems=problems,
    )


class _Merge:
    """The files of one unit, merged one after the other as systemd does."""

    def __init__(self, name: str, specifiers: Specifiers) -> None:
        self.name = name
        self.specifiers = specifiers
        self.assignments: list[tuple[str, str, str]] = []
        self.refused: dict[int, str] = {}
        self.environment: dict[str, str] = {}
        self.private_network = False
        self.namespace_path = ""
        self.restart = "no"
        self.forced_restart = False
        self.type = ""
        self.bus_name = ""
        self.filters = FilterSettings()
        self.problems: list[str] = []

    def add(self, file: UsedFile) -> None:
        for line in file.ignored:
            self._add_problem(file, line, f"{line.reason}: ignored")
            if _is_switch(line.text):
                # A switch without a value can't be read, so it counts as no.
                self.assignments.append((line.section, _ENABLE, line.text))
        for entry in file.entries:
            self.filters.assign(entry.key, entry.value)
            if _is_ours(entry.section, entry.key):
                self._add_assignment(file, entry)
            elif entry.key == "Environment":
                self._add_environment(file, entry)
            elif entry.key == "Restart":
                self.restart = entry.value or self.restart
            elif entry.key == "RestartForceExitStatus":
                self.forced_restart = bool(entry.value)
            else:
                self._add_type_or_network(entry)

    @property
    def notifies_ready(self) -> bool:
        """True if the service reports readiness; BusName= alone implies Type=dbus."""
        return self.type in _NOTIFYING_TYPES or (not self.type and bool(self.bus_name))

    def _add_type_or_network(self, entry: Entry) -> None:
        if entry.key == "Type":
            self.type = entry.value
        elif entry.key == "BusName":
            self.bus_name = entry.value
        elif entry.key == "PrivateNetwork":
            self.private_network = _boolean(entry.value, before=self.private_network)
        elif entry.key == "NetworkNamespacePath" and entry.value[:1] in ("", "/", "%"):
            self.namespace_path = entry.value

    def _add_environment(self, file: UsedFile, entry: Entry) -> None:
        """Do as ``config_parse_environ``: an empty value resets, words before an error count."""
        if not entry.value:
            self.environment.clear()
        try:
            for word in words(entry.value):
                variable, equals, value = word.partition("=")
                if variable == ANNOUNCE and equals and _is_text(value):
                    self._set_announce(file, entry, value)
        except BadInput as error:
            self._add_problem(file, entry, f"Environment=: {error}")

    def _add_assignment(self, file: UsedFile, entry: Entry) -> None:
        """Add an assignment; one that can't be expanded is refused, and never used literally."""
        value, unknown = expand(entry.value, self.name, self.specifiers)
        if unknown:
            where = f"{printable(file.path)}:{entry.line}"
            self.refused[len(self.assignments)] = f"{_unexpanded(unknown)} ({where})"
        self.assignments.append((entry.section, entry.key, value))

    def _set_announce(self, file: UsedFile, entry: Entry, value: str) -> None:
        self.environment.pop(ANNOUNCE, None)
        text, unknown = expand(value, self.name, self.specifiers)
        if unknown:
            self._add_problem(file, entry, f"{ANNOUNCE}: {_unexpanded(unknown)}")
        else:
            self.environment[ANNOUNCE] = text

    def _add_problem(self, file: UsedFile, at: Entry | Ignored, problem: str) -> None:
        self.problems.append(f"{printable(file.path)}:{at.line}: {problem}")


def _is_switch(text: str) -> bool:
    """Return True if a line without an assignment begins as a switch that opts in or out."""
    word, *_ = text.split(maxsplit=1) or [""]
    return is_switch(
        word[len(_PREFIX) :] if word[: len(_PREFIX)].lower() == _PREFIX.lower() else word
    )


def _unexpanded(specifiers: Sequence[str]) -> str:
    return f"{' '.join(specifiers)} can't be expanded; write the value, or %% for a percent sign"


def _boolean(value: str, *, before: bool) -> bool:
    """Parse a boolean as systemd does: a word that it does not know changes nothing."""
    try:
        return unit_boolean(value)
    except BadInput:
        return before


def _is_text(value: str) -> bool:
    """Return True if systemd accepts this as the value of a variable."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
