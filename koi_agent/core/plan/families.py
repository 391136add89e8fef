"""Full names belong to one instance, or to the replicas of one service of a project."""

from collections.abc import Iterator, Sequence
from typing import Protocol, cast

from koi_agent.core.instance import Instance
from koi_agent.core.key import Key
from koi_agent.core.plan.requests import Award, Contender


class FamilyRequest(Protocol):
    """A request for a full name that the requests of one ``family`` share."""

    @property
    def name(self) -> str: ...
    @property
    def family(self) -> tuple[str, ...]: ...


def family_of(instance: Instance) -> tuple[str, ...]:
    """Return what the replicas of one service of a project have in common."""
    replicas = (instance.backend, instance.project, instance.service_name)
    return replicas if instance.project else instance.key


def awards(contenders: Sequence[Contender]) -> Iterator[Award]:
    """Assign a name to the first contender and to those of the same family.

    Each request is a ``FamilyRequest``.
    """
    first: tuple[Key, tuple[str, ...]] | None = None
    for owner, contended in contenders:
        # A cast, because isinstance() of a protocol takes 10 µs.
        request: FamilyRequest = cast("FamilyRequest", contended)
        first = first or (owner, request.family)
        if first[1] == request.family:
            yield Award(request.name)
        else:
            yield Award("", f"{request.name} is {first[0]}'s, which was there before")
