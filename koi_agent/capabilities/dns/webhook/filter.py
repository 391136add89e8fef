"""The domain filter of a webhook: names outside it are not sent."""

from collections.abc import Mapping
from typing import Final

from koi_agent.capabilities.dns.webhook.patterns import Pattern
from koi_agent.capabilities.dns.webhook.spelling import same_name, unicode_name
from koi_agent.core.errors import BadInput
from koi_agent.core.text import printable

_SHOWN: Final = 3
_MOST_KNOWN: Final = 20_000
"""Names whose result is kept: a regular expression takes long."""


class DomainFilter:
    """The names that external-dns' DomainFilter permits. Raises ``BadInput`` if it can't be read.

    A regular expression replaces the lists of domains. An exclusion wins over an inclusion.
    """

    def __init__(self, answer: object) -> None:
        fields = {} if answer is None else answer
        if not isinstance(fields, Mapping):
            raise BadInput("its domain filter is not an object")
        # The OpenAPI document has "filters", the source code of external-dns "include".
        self._included = _domains(fields, "include") or _domains(fields, "filters")
        self._excluded = _domains(fields, "exclude")
        self._pattern = _pattern(fields, "regexInclude")
        self._exclusion = _pattern(fields, "regexExclude")
        self._known: dict[str, str] = {}
        if (self._pattern or self._exclusion) and (self._included or self._excluded):
            raise BadInput("its domain filter has domains and regular expressions")

    def refusal(self, name: str) -> str:
        """Return the reason why a name is outside, "" for a name that may be sent."""
        if name not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[name] = self._refusal(name)
        return self._known[name]

    def _refusal(self, name: str) -> str:
        try:
            return "" if self._has(name) else f"the webhook does not serve it: {self._description}"
        except BadInput as error:
            return f"the domain filter of the webhook does not work: {error}"

    def _has(self, name: str) -> bool:
        if self._pattern or self._exclusion:
            text = unicode_name(name)
            if self._exclusion and self._exclusion.search(text):
                return False
            return not self._pattern or self._pattern.search(text)
        is_included = not self._included or any(_is_in(name, one) for one in self._included)
        return is_included and not any(_is_in(name, one) for one in self._excluded)

    @property
    def _description(self) -> str:
        if not self._included:
            return "its domain filter excludes the name"
        rest = len(self._included) - _SHOWN
        more = f" and {rest} more" if rest > 0 else ""
        return f"its domains are {printable(', '.join(self._included[:_SHOWN]), 300)}{more}"


def _is_in(name: str, domain: str) -> bool:
    """Return True for a name in a domain; a domain that begins with a dot has only names below."""
    if domain.startswith("."):
        return name.endswith(domain)
    return name == domain or name.endswith(f".{domain}")


def _domains(fields: Mapping[str, object], key: str) -> tuple[str, ...]:
    found = fields.get(key)
    if found is None:
        return ()
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise BadInput(f"{key} in its domain filter is not a list of texts")
    return tuple(name for one in found if (name := same_name(one)))


def _pattern(fields: Mapping[str, object], key: str) -> Pattern | None:
    found = fields.get(key)
    if found is not None and not isinstance(found, str):
        raise BadInput(f"{key} in its domain filter is not a text")
    return Pattern(found) if found else None
