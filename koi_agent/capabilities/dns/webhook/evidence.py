"""Finds out whether a provider keeps the marks of names. Some drop all TXT records."""

import asyncio
from collections.abc import Iterable
from typing import Final

PATIENCE: Final = 5.0
"""Seconds in which a mark that the webhook accepted must appear: providers may cache."""
ATTEMPTS: Final = 2
"""Number of times that marks must not appear, because others may have removed them at once."""


class Evidence:
    """The evidence about marks; ``keeps`` is False if the provider drops them.

    An error proves nothing. Marks are dropped if the webhook accepted some, more than once, and the
    provider shows no mark of any agent afterwards.
    """

    def __init__(self, *, keeps: bool) -> None:
        self.keeps = keeps
        self._sent: dict[str, None] = {}
        self._since = 0.0
        self._missed = 0

    @property
    def is_open(self) -> bool:
        """True while marks that were accepted have not appeared."""
        return bool(self._sent)

    def awaits(self, name: str) -> bool:
        """Return True if the mark of a name was accepted and has not appeared."""
        return name in self._sent

    def send(self, names: Iterable[str]) -> None:
        """Register names whose marks were accepted."""
        if not self._sent:
            self._since = _now()
        self._sent.update(dict.fromkeys(names))

    def observe(self, *, has_marks: bool) -> None:
        """Draw the conclusion from a list of all records."""
        if has_marks:
            self.keeps, self._missed = True, 0
            self._sent.clear()
        elif self._sent and _now() >= self._since + PATIENCE:
            self._missed += 1
            self.keeps = self._missed < ATTEMPTS
            self._sent.clear()


def _now() -> float:
    return asyncio.get_running_loop().time()
