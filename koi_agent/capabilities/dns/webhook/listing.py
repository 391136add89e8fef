"""The records of a provider at the names that concern this agent: pure."""

from collections.abc import Callable
from typing import Final, NamedTuple

from koi_agent.capabilities.dns.marks import mark_text
from koi_agent.capabilities.dns.webhook.endpoints import (
    TXT,
    Data,
    Endpoint,
    is_mark,
    name_of,
    read,
)
from koi_agent.capabilities.dns.webhook.spelling import is_plain
from koi_agent.core.errors import BadInput

MOST_ENDPOINTS: Final = 64
"""Maximum number of endpoints that are kept for one name."""
MOST_CHARACTERS: Final = 16 * 2**20
"""Maximum number of characters of all kept endpoints; names with further ones count as foreign."""
MOST_UNKNOWN: Final = 10_000
"""Maximum number of kept names that have our mark but are unknown to this agent."""
_MARK_LABEL: Final = "_koi."


class Found(NamedTuple):
    """The endpoints at a name and at that of its mark.

    ``is_foreign`` and ``is_mark_foreign`` are True if there is a record that can't be the agent's.
    """

    addresses: tuple[Endpoint, ...] = ()
    marks: tuple[Endpoint, ...] = ()
    is_foreign: bool = False
    is_mark_foreign: bool = False

    @property
    def present(self) -> frozenset[Data]:
        """The addresses of the name."""
        return frozenset(data for one in self.addresses for data in one.data)

    @property
    def texts(self) -> frozenset[str]:
        """The texts of all marks."""
        return frozenset(data.text for one in self.marks for data in one.data if is_mark(data.text))


NOTHING: Final = Found()


class Listing:
    """The endpoints of a provider, of which only those at names that concern the agent are kept.

    ``concerns`` returns True for such a name. ``unknown`` are other names with the mark of this
    agent, and ``has_marks`` is True if the provider has the mark of any agent. ``unnamed`` counts
    endpoints without a name, which can't concern any.
    """

    def __init__(self, concerns: Callable[[str], bool], mark: str) -> None:
        self.unknown: set[str] = set()
        self.has_marks = False
        self.unnamed = 0
        self._concerns = concerns
        self._own = mark_text(mark)
        self._found: dict[str, Found] = {}
        self._room = MOST_CHARACTERS

    def add(self, element: object) -> None:
        """Add any endpoint of the provider."""
        try:
            name = name_of(element)
        except BadInput:
            self.unnamed += 1
            return
        if name.startswith(_MARK_LABEL):
            self._add_mark(name.removeprefix(_MARK_LABEL), element)
        elif self._concerns(name):
            self._add_address(name, element)

    def at(self, name: str) -> Found:
        """Return what was found at a name."""
        return self._found.get(name, NOTHING)

    def _read(self, name: str, element: object) -> Endpoint:
        """Read an endpoint; raise ``BadInput``, for example if there is no room for it."""
        endpoint = read(element)
        if self._concerns(name):
            if endpoint.size > self._room:
                raise BadInput("the endpoints at names of the agent are too long together")
            self._room -= endpoint.size
        return endpoint

    def _add_address(self, name: str, element: object) -> None:
        found = self.at(name)
        try:
            endpoint = self._read(name, element)
        except BadInput:
            self._found[name] = found._replace(is_foreign=True)
            return
        if endpoint.type == TXT or len(found.addresses) >= MOST_ENDPOINTS:
            self._found[name] = found._replace(is_foreign=True)
        else:
            self._found[name] = found._replace(addresses=(*found.addresses, endpoint))

    def _add_mark(self, name: str, element: object) -> None:
        found = self.at(name)
        try:
            endpoint = self._read(name, element)
        except BadInput:
            endpoint = None
        texts = [data.text for data in endpoint.data] if endpoint else []
        is_text = endpoint is not None and endpoint.type == TXT
        marks = [text for text in texts if is_text and is_mark(text)]
        self.has_marks = self.has_marks or bool(marks)
        if not self._concerns(name):
            is_ours = self._own in marks and is_plain(name)
            if is_ours and len(self.unknown) < MOST_UNKNOWN:
                self.unknown.add(name)
            return
        if len(marks) < len(texts) or not marks:
            found = found._replace(is_mark_foreign=True)
        if endpoint and marks and len(found.marks) < MOST_ENDPOINTS:
            found = found._replace(marks=(*found.marks, endpoint))
        self._found[name] = found
