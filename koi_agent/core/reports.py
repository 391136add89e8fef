"""Compares what a backend reports of an instance with what is known of it, and merges the two."""

from dataclasses import fields
from operator import attrgetter

from koi_agent.core.instance import Instance, copied

_SET_BY_REGISTRY = {"discovered_at", "stale", "announcements", "checked"}
_REPORTED = attrgetter(
    *(field.name for field in fields(Instance) if field.name not in _SET_BY_REGISTRY)
)
"""The fields that a backend reports. In a list of thousands hardly one instance has changed."""


def is_same(held: Instance, reported: Instance) -> bool:
    """Return True if a report has nothing new, except that a stale instance is not stale."""
    return bool(_REPORTED(held) == _REPORTED(reported))


def merged(held: Instance, reported: Instance) -> Instance:
    """Return a report together with what else is known of the instance."""
    return copied(
        reported,
        key=held.key,  # equal, and one object for all that keep it
        discovered_at=held.discovered_at,
        announcements=held.announcements,
    )


def difference(held: Instance | None, listed: Instance | None) -> str:
    """Return added, removed, changed, or an empty string."""
    if held is None or listed is None:
        return "added" if listed else "removed"
    return "" if is_same(held, listed) else "changed"
