"""Decides how long addresses stay claimed that were sent but do not appear in a list."""

import asyncio
from collections.abc import Iterable, Set
from typing import Final

from koi_agent.capabilities.dns.webhook.endpoints import Data

SETTLED: Final = 60.0
"""Seconds after which a missing address no longer counts as the agent's."""


class Settling:
    """The addresses of names that the provider may show later.

    One list is weak evidence: providers cache, and some return an empty list during an error.
    """

    def __init__(self) -> None:
        self._due: dict[str, dict[Data, float]] = {}

    def expect(self, name: str, added: Iterable[Data]) -> None:
        """Keep addresses that are about to be sent, even if the next lists lack them."""
        self._due.setdefault(name, {}).update(dict.fromkeys(added, _now() + SETTLED))

    def give_up(self, name: str, data: Iterable[Data]) -> None:
        """Keep addresses only until a list lacks them."""
        self._due.setdefault(name, {}).update(dict.fromkeys(data, _now()))

    def gone(self, name: str, sent: Set[Data], present: Set[Data]) -> frozenset[Data]:
        """Return the sent addresses that no list will show, judging by the last one."""
        before, now = self._due.pop(name, {}), _now()
        due = {one: before.get(one, now + SETTLED) for one in sent - present}
        gone = frozenset(one for one, at in due.items() if at <= now)
        given_up = {one: at for one, at in before.items() if at <= now and one in sent & present}
        if kept := given_up | {one: at for one, at in due.items() if one not in gone}:
            self._due[name] = kept
        return gone

    def forget(self, name: str) -> None:
        """Forget a name without a claim."""
        self._due.pop(name, None)


def _now() -> float:
    return asyncio.get_running_loop().time()
