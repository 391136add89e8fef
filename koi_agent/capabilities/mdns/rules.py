"""The rules of mDNS: which instance gets a name that several request.

Service names are numbered in the order of rank, as Avahi numbers them. Replicas that request one
name for one address and port are one service, such as the tasks of a swarm's service behind its
published port. A host name has one owner, or belongs to the replicas of one project.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

from koi_agent.capabilities.mdns import service_names
from koi_agent.capabilities.mdns.requests import HostRequest, ServiceRequest, requests_of
from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import Instance
from koi_agent.core.key import Key
from koi_agent.core.metadata import names
from koi_agent.core.plan.requests import (
    NO_REQUESTS,
    Award,
    Contender,
    Hold,
    Policy,
    Requests,
    hold_of,
)


@frozen()
class MdnsRules:
    """The rules under a policy."""

    policy: Policy

    def requests(self, instance: Instance) -> Requests:
        """Return the requests of an instance; none if it has not opted in, or out."""
        if not self.policy.admits(instance) or instance.metadata.mdns_enable is False:
            return NO_REQUESTS
        return requests_of(instance, self.policy)

    def hold(self, instance: Instance) -> Hold | None:
        """Return the hold that all capabilities share."""
        return hold_of(instance, self.policy)

    def award(self, contenders: Sequence[Contender]) -> Iterable[Award]:
        """Assign the names of a contest, first come, first served."""
        assigned = _Names(contenders)
        for owner, request in contenders:
            match request:
                case ServiceRequest():
                    yield assigned.service(owner, request)
                case HostRequest():
                    yield assigned.host(owner, request)
                case _:
                    raise AssertionError(f"mDNS has no request of type {type(request)}")


class _Names:
    """The names that are assigned in one contest."""

    def __init__(self, contenders: Sequence[Contender]) -> None:
        self._holders = _holders(contenders)
        self._services: dict[str, Key] = {}
        self._next_number: dict[tuple[str, int], int] = {}
        self._host: tuple[Key, tuple[str, ...]] | None = None

    def service(self, owner: Key, request: ServiceRequest) -> Award:
        """Assign the first free service name, or none if another instance has this service."""
        holder = self._holders[request.content].owner
        if holder != owner:
            reason = f"{holder} announces the same service, at port {request.endpoint.port}"
            return Award("", reason, is_shared=True)
        name = self._free_name(request)
        try:
            names.instance_name(name)
        except BadInput as bad:
            return Award("", str(bad))
        self._services[name.lower()] = owner
        first = service_names.numbered(request.name, request.number)
        if name == first:
            return Award(name)
        return Award(name, f"'{first}' is {self._services[first.lower()]}'s")

    def _free_name(self, request: ServiceRequest) -> str:
        start = request.name.lower(), request.number
        for number in self._numbers(start):
            name = service_names.numbered(request.name, number)
            if name.lower() not in self._services:
                return name
        raise AssertionError("numbers have no end")

    def _numbers(self, start: tuple[str, int]) -> Iterator[int]:
        """Yield the numbers to try: equal names do not try those of each other again."""
        number = self._next_number.get(start, start[1])
        while True:
            self._next_number[start] = number
            yield number
            number += 1

    def host(self, owner: Key, request: HostRequest) -> Award:
        """Assign the host name, unless an instance of another family has it."""
        first, family = self._host = self._host or (owner, request.family)
        if family != request.family:
            return Award("", f"{request.name}.local is {first}'s, which was there before")
        return Award(request.name)


def _holders(contenders: Sequence[Contender]) -> Mapping[Hashable, Contender]:
    """Return which contender has each service: the first of those with the lowest number.

    The first in rank changes when one task after the other is replaced; the lowest number stays.
    """
    numbers: dict[Hashable, int] = {}
    found: dict[Hashable, Contender] = {}
    for contender in contenders:
        request = contender.request
        if isinstance(request, ServiceRequest):
            before = numbers.get(request.content)
            if before is None or request.number < before:
                numbers[request.content] = request.number
                found[request.content] = contender
    return found
