"""Finds instances by the names that users type: one rule for the command, HTTP and D-Bus.

A word is compared with the keys and ids of instances first, then with names, units, announced
names, requested names, and the beginnings of ids. The first comparison that finds one counts.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Final

from koi_agent.core.frozen import frozen
from koi_agent.core.instance import Instance, RecordState
from koi_agent.core.key import Key
from koi_agent.core.titles import DOMAIN, names_of

_HEXADECIMAL: Final = re.compile(r"[0-9a-f]{12,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""An id of which a beginning is enough: an engine's or a UUID. A unit's id is its name."""

_Comparison = Callable[["Subject", str], bool]


@frozen(kw_only=True)
class Subject:
    """The names of one instance.

    ``units`` are the names of its unit. ``announced`` are the titles of its records that are
    announced; ``requested`` are the names that its metadata or its other records request.
    """

    key: Key
    name: str
    units: tuple[str, ...] = ()
    announced: tuple[str, ...] = ()
    requested: tuple[str, ...] = ()

    @property
    def all_names(self) -> Iterable[str]:
        """Return all names that a pattern is compared with."""
        titles = (name for title in self.announced for name in names_of(title))
        return (self.name, self.key.id, *self.units, *titles, *self.requested)


def of_instance(instance: Instance) -> Subject:
    """Return the names of an instance."""
    metadata, records = instance.metadata, instance.announcements
    announced = tuple(one.name for one in records if one.state is RecordState.ANNOUNCED)
    return Subject(
        key=instance.key,
        name=instance.name,
        units=tuple(filter(None, (instance.unit, *instance.aliases))),
        announced=announced,
        requested=tuple(filter(None, (metadata.name, metadata.dns_name))),
    )


def is_pattern(word: str) -> bool:
    """Return True if a word is a glob pattern, which may mean several instances."""
    return any(character in word for character in "*?[")


def find_exactly(word: str, subjects: Iterable[Subject]) -> Sequence[Subject]:
    """Return the instances whose key is a word; else those with this id, or with this name."""
    known = sorted(subjects, key=lambda subject: subject.key)
    return _first(_EXACT, word, known)


def find(word: str, subjects: Iterable[Subject]) -> Sequence[Subject]:
    """Return the instances that a word means, sorted by key.

    More than one is an ambiguity, unless the word is a pattern. A name of a backend and a colon
    before the word restrict it to this backend.
    """
    known = sorted(subjects, key=lambda subject: subject.key)
    if found := _find(word, known):
        return found
    backend, colon, rest = word.partition(":")
    if not colon or not rest:
        return []
    return _find(rest, [subject for subject in known if subject.key.backend == backend])


def _find(word: str, subjects: Sequence[Subject]) -> Sequence[Subject]:
    found = _first((*_EXACT, *_OTHER), word, subjects)
    if found or not is_pattern(word):
        return found
    return [one for one in subjects if any(fnmatchcase(name, word) for name in one.all_names)]


def _first(
    comparisons: Iterable[_Comparison], word: str, subjects: Sequence[Subject]
) -> Sequence[Subject]:
    """Return the instances that the first comparison with a result finds."""
    found = ([one for one in subjects if is_meant(one, word)] for is_meant in comparisons)
    return next(filter(None, found), [])


def _is_unit(subject: Subject, word: str) -> bool:
    return word in subject.units or f"{word}.service" in subject.units


def _is_announced(subject: Subject, word: str) -> bool:
    return _is_one_of(word, (name for title in subject.announced for name in names_of(title)))


def _is_requested(subject: Subject, word: str) -> bool:
    return _is_one_of(word, subject.requested)


def _is_one_of(word: str, names: Iterable[str]) -> bool:
    """Compare DNS names, ignoring case and a final dot."""
    wanted = word.rstrip(".").casefold()
    texts = {name.casefold() for name in names}
    return wanted in texts or wanted.removesuffix(DOMAIN) in texts


def _begins_with(subject: Subject, word: str) -> bool:
    return bool(word and _HEXADECIMAL.fullmatch(subject.key.id)) and subject.key.id.startswith(word)


_EXACT: Final[Sequence[_Comparison]] = (
    lambda subject, word: str(subject.key) == word,
    lambda subject, word: subject.key.id == word,
    lambda subject, word: subject.name == word,
)
_OTHER: Final[Sequence[_Comparison]] = (_is_unit, _is_announced, _is_requested, _begins_with)
"""How a word is compared with the names of an instance, the most exact comparison first."""
