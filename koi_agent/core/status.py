"""Results of the capabilities, by instance: kept apart from what backends report.

A backend reports an instance as a whole, and each report replaces the one before. A result that
was part of the report would be lost with the next one.
"""

from collections import Counter
from collections.abc import Mapping

from koi_agent.core.events import Announced, Checked, CheckStatus, Result
from koi_agent.core.instance import Instance, RecordStatus, copied
from koi_agent.core.key import Key


class StatusTable:
    """The last results for each visible instance.

    ``check_counts`` counts the checks that ran, by ``success`` and ``failure``.
    """

    def __init__(self) -> None:
        self.check_counts: Counter[str] = Counter()
        self._announcements: dict[Key, tuple[RecordStatus, ...]] = {}
        self._checks: dict[Key, CheckStatus] = {}

    @property
    def checks(self) -> Mapping[Key, CheckStatus]:
        """The status of each health check."""
        return self._checks

    def put(self, result: Result) -> None:
        """Store a result in place of the one before."""
        match result:
            case Announced(key, announcements):
                self._announcements[key] = announcements
            case Checked(key, status, passed):
                self._put_check(key, status)
                if passed is not None:
                    self.check_counts["success" if passed else "failure"] += 1

    def _put_check(self, key: Key, status: CheckStatus | None) -> None:
        if status:
            self._checks[key] = status
        else:
            self._checks.pop(key, None)

    def drop(self, key: Key) -> None:
        """Drop the results for an instance."""
        self._announcements.pop(key, None)
        self._checks.pop(key, None)

    def apply_to(self, instance: Instance) -> Instance:
        """Return the instance with its results; a final health of the runtime stays."""
        key = instance.key
        if announcements := self._announcements.get(key):
            instance = copied(instance, announcements=announcements)
        if (check := self._checks.get(key)) and instance.accepts_checks:
            instance = copied(
                instance, health=check.health, health_detail=check.message, checked=True
            )
        return instance
