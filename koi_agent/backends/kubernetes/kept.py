"""The objects of one collection at their newest versions."""

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, Protocol, TypeVar


class Versioned(Protocol):
    """An object of a version, which is greater after each change."""

    @property
    def version(self) -> int: ...


V = TypeVar("V", bound=Versioned)


class Kept(Generic[V]):
    """Keeps objects by UID; ``changed`` gets each one before and after a change, or None."""

    def __init__(self, changed: Callable[[str, V | None, V | None], None]) -> None:
        self._changed = changed
        self._objects: dict[str, V] = {}
        self._listed = 0
        self._named: dict[str, int] | None = None  # versions of events since ``begin_list``

    def known(self, uid: str, version: int) -> V | None:
        """Return an object if it is kept at this version."""
        value = self._objects.get(uid)
        return value if value is not None and value.version == version else None

    def apply(self, uid: str, value: V) -> None:
        """Apply an event that an object was added or changed."""
        self._note(uid, value.version)
        known = self._objects.get(uid)
        if value.version > self._listed and (known is None or value.version > known.version):
            self._set(uid, value)

    def remove(self, uid: str, version: int) -> None:
        """Apply an event that an object was deleted."""
        self._note(uid, version)
        self._set(uid, None)

    def begin_list(self) -> None:
        """Record the events that come from now on: some of them are newer than the list."""
        self._named = {}

    def end_list(self) -> None:
        """Stop recording events."""
        self._named = None

    def apply_list(
        self, listed: Mapping[str, V | None], version: int, *, is_whole: bool = True
    ) -> frozenset[str]:
        """Apply a list of this version; None stands for a record that could not be parsed.

        If the list is not whole, an object that is not in it may exist, and stays.
        Returns no id, because no instance is one of these objects.
        """
        newer = {uid for uid, of_event in (self._named or {}).items() if of_event > version}
        self._listed = version
        if is_whole:
            for uid in self._objects.keys() - listed.keys() - newer:
                self._set(uid, None)
        for uid, value in self._readable(listed):
            if uid not in newer:
                self._set(uid, value)
        return frozenset()

    @staticmethod
    def _readable(listed: Mapping[str, V | None]) -> Iterator[tuple[str, V]]:
        for uid, value in listed.items():
            if value is not None:
                yield uid, value

    def _note(self, uid: str, version: int) -> None:
        if self._named is not None:
            self._named[uid] = max(version, self._named.get(uid, 0))

    def _set(self, uid: str, value: V | None) -> None:
        known = self._objects.pop(uid, None)
        if value is not None:
            self._objects[uid] = value
        if known != value:
            self._changed(uid, known, value)
