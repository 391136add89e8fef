"""Results of health checks, by instance: kept apart from what backends report.

A backend reports an instance as a whole, and each report replaces the previous one. A health that
was part of the report would be lost with the next one.
"""

from collections import Counter
from collections.abc import Mapping

from koi_agent.core.events import Checked, CheckStatus
from koi_agent.core.instance import Instance, copied
from koi_agent.core.key import Key


class CheckTable:
    """The last result for each visible instance.

    ``counts`` counts the checks that ran, by ``success`` and ``failure``.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._checks: dict[Key, CheckStatus] = {}

    @property
    def all(self) -> Mapping[Key, CheckStatus]:
        """The status of each health check."""
        return self._checks

    def put(self, result: Checked) -> None:
        """Store a result in place of the previous one."""
        if result.status:
            self._checks[result.key] = result.status
        else:
            self._checks.pop(result.key, None)
        if result.passed is not None:
            self.counts["success" if result.passed else "failure"] += 1

    def drop(self, key: Key) -> None:
        """Drop the result for an instance."""
        self._checks.pop(key, None)

    def apply_to(self, instance: Instance) -> Instance:
        """Return the instance with its result; a final health of the runtime stays."""
        if (check := self._checks.get(instance.key)) and instance.accepts_checks:
            return copied(instance, health=check.health, health_detail=check.message, checked=True)
        return instance
