"""What capabilities did and found, by instance: kept apart from what backends say.

A backend speaks of an instance whole, and what it says replaces what it said. So a result would
be lost with the next event, were it part of that.
"""

from dataclasses import replace

from koi_agent.core.checks import yields
from koi_agent.core.events import Announced, Checked, Result
from koi_agent.core.instance import Health, Instance


class StatusTable:
    """The last results of each instance, for as long as it is visible."""

    def __init__(self) -> None:
        self._announced: dict[str, Announced] = {}
        self._checked: dict[str, Checked] = {}

    def put(self, result: Result) -> None:
        """Keep a result."""
        match result:
            case Announced(key):
                self._announced[key] = result
            case Checked(key):
                self._checked[key] = result

    def drop(self, key: str) -> None:
        """Forget the results of an instance."""
        self._announced.pop(key, None)
        self._checked.pop(key, None)

    def over(self, instance: Instance) -> Instance:
        """Show an instance with its results; what its runtime checks by itself goes first."""
        announced, checked = self._announced.get(instance.key), self._checked.get(instance.key)
        if announced:
            instance = replace(instance, announcements=announced.announcements)
        if checked and checked.health is not Health.NONE and yields(instance):
            instance = replace(
                instance, health=checked.health, health_detail=checked.detail, checked=True
            )
        return instance
