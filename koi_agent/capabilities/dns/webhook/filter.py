"""The domain filter of a webhook: names outside it are not sent."""

from collections.abc import Mapping
from typing import Final

from koi_agent.capabilities.dns.webhook.spelling import same_name
from koi_agent.core.errors import BadInput
from koi_agent.core.text import printable

_SHOWN: Final = 3
_EXPRESSIONS: Final = "regexInclude", "regexExclude"
_NOT_EVALUATED: Final = (
    "the domain filter of the webhook is a regular expression; configure a list of domains there"
)


class DomainFilter:
    """The names that external-dns' DomainFilter permits. Raises ``BadInput`` if it is not valid.

    An exclusion wins over an inclusion. A regular expression permits no name: the syntax of Go
    differs from that of Python, and a webhook could choose one that takes forever.
    """

    def __init__(self, answer: object) -> None:
        fields = {} if answer is None else answer
        if not isinstance(fields, Mapping):
            raise BadInput("its domain filter is not an object")
        # The OpenAPI document has "filters", the source code of external-dns "include".
        self._included = _domains(fields, "include") or _domains(fields, "filters")
        self._excluded = _domains(fields, "exclude")
        self._is_expression = any(fields.get(key) for key in _EXPRESSIONS)

    def refusal(self, name: str) -> str:
        """Return the reason why a name is outside, "" for a name that may be sent."""
        if self._is_expression:
            return _NOT_EVALUATED
        is_included = not self._included or any(_is_in(name, one) for one in self._included)
        if is_included and not any(_is_in(name, one) for one in self._excluded):
            return ""
        return f"the webhook does not serve it: {self._description}"

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
