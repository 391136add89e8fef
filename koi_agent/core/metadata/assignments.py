"""The assignments of an instance's metadata: keys with values, as each kind of runtime has them."""

from collections.abc import Iterable, Mapping

from koi_agent.core.frozen import frozen
from koi_agent.core.instance import Refusal
from koi_agent.core.metadata import names
from koi_agent.core.metadata.keys import UNIT, Spelling

_SECTION = "X-Koi"
_VARIABLE = "KOI_MDNS_ANNOUNCE"
_NO_TEXT = "the value is not text"


@frozen()
class Assignment:
    """One key and its value.

    ``key`` is for refusals, ``name`` is without prefix, and ``full`` with the prefix as written.
    ``problem`` is the reason why the value can't be used, or "".
    """

    key: str
    name: str
    value: str
    full: str = ""
    problem: str = ""

    def refused(self, reason: object, capability: str = "", part: str = "") -> Refusal:
        return Refusal(key=self.key, reason=str(reason), capability=capability, part=part)


def prefixed(spelling: Spelling, entries: Mapping[str, object]) -> list[Assignment]:
    """Return the entries whose key has the prefix in any case, sorted by key.

    A value that is not text can't be used.
    """
    length = len(spelling.prefix)
    found = []
    for key in sorted(key for key in entries if key[:length].lower() == spelling.prefix):
        value = entries[key]
        text, problem = (value, "") if isinstance(value, str) else ("", _NO_TEXT)
        found.append(Assignment(names.shown_key(key), key[length:], text, key, problem))
    return found


def of_unit(
    assignments: Iterable[tuple[str, str, str]], problems: Mapping[int, str]
) -> list[Assignment]:
    """Return the assignments of keys with the prefix and of all keys in the section.

    ``problems`` has the reasons of assignments that can't be used, by their position.
    """
    found = []
    length = len(UNIT.prefix)
    for number, (section, key, value) in enumerate(assignments):
        problem = problems.get(number, "")
        if key[:length].lower() == UNIT.prefix.lower():
            found.append(Assignment(names.shown_key(key), key[length:], value, key, problem))
        elif section.lower() == _SECTION.lower():
            shown = f"[{section}] {names.shown_key(key)}"
            found.append(Assignment(shown, key, value, f"{section}-{key}", problem))
    return found


def variable_of(environment: Mapping[str, object], prefix: str = "") -> Assignment | None:
    """Return the variable that announces, or None without it."""
    value = environment.get(prefix + _VARIABLE)
    return Assignment(prefix + _VARIABLE, _VARIABLE, value) if isinstance(value, str) else None
