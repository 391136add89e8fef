"""Requests of an instance to a capability, and the rules that all capabilities share.

Requests follow from the instance and from the rules of the capability alone, and not from other
instances. Names are assigned by the planner.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import field
from enum import Enum, auto
from operator import attrgetter
from typing import Final, NamedTuple, Protocol

from koi_agent.core.frozen import frozen
from koi_agent.core.instance import EnabledBy, Instance, InstanceState
from koi_agent.core.key import Key
from koi_agent.core.plan.name_rules import NameRules
from koi_agent.core.plan.records import Decision, Record
from koi_agent.core.plan.restarts import STEADY
from koi_agent.core.reach.network import UNKNOWN, HostNetwork


@frozen(kw_only=True)
class Policy:
    """The administrator's decisions that all capabilities share, and the state of the host.

    ``host_names`` are this host's own, in lower case, with and without their domain. ``lost`` are
    the backends that have been lost for longer than ``StaleAfter=``: their instances are no longer
    announced. ``names`` are the names that instances may have, ``network`` the interfaces of this
    host.
    """

    host_names: frozenset[str]
    partner_labels: bool = True
    withdraw_unhealthy: bool = True
    lost: frozenset[str] = frozenset()
    network: HostNetwork = UNKNOWN
    names: NameRules = field(default_factory=NameRules)

    def admits(self, instance: Instance) -> bool:
        """Return True if the instance has opted in from a source that counts."""
        metadata = instance.metadata
        by_partner = metadata.enabled_by is EnabledBy.PARTNER
        return metadata.enable is True and (self.partner_labels or not by_partner)


class HoldKind(Enum):
    """Why all requests of an instance are held."""

    STALE = auto()
    PAUSED = auto()
    RESTARTING = auto()
    UNHEALTHY = auto()
    ENDING = auto()


class Hold(NamedTuple):
    """A hold on all requests of an instance, with the reason to show."""

    kind: HoldKind
    reason: str

    def beside(self, holder: str, name: str) -> str:
        """Return the reason for the instance ``name``; ``holder`` is which other has its name."""
        if not holder:
            return self.reason
        subject, _, rest = self.reason.partition(" ")
        return f"{holder} while {name if subject == 'it' else subject} {rest}"


def hold_of(instance: Instance, policy: Policy) -> Hold | None:
    """Return why the requests of an instance are held, None if they are not.

    ``RestartGrace`` decides when an instance counts as restarting.
    """
    if instance.stale and instance.backend in policy.lost:
        return Hold(HoldKind.STALE, f"{instance.backend} has not answered for too long")
    if instance.ending and instance.traits.ends_for_good:
        return Hold(HoldKind.ENDING, "it is being deleted")
    if instance.state is InstanceState.PAUSED:
        return Hold(HoldKind.PAUSED, "it is paused")
    if instance.state is InstanceState.RESTARTING:
        return Hold(HoldKind.RESTARTING, f"it is restarting; it must first run for {STEADY:g} s")
    if policy.withdraw_unhealthy and instance.is_unhealthy:
        return Hold(HoldKind.UNHEALTHY, "it is unhealthy")
    return None


class Award(NamedTuple):
    """The outcome of a contest for one request.

    ``name`` is the name that the request gets. If it is empty, the request is refused, or held if
    ``is_shared`` is True: the record of another instance serves this one, too. ``reason`` explains
    that, or a name other than the requested one.
    """

    name: str
    reason: str = ""
    is_shared: bool = False


class Request(Protocol):
    """One request of an instance; ``contest`` is the name for which requests compete."""

    @property
    def contest(self) -> Hashable:
        """Requests with the same value compete; None means that there is no contest."""

    @property
    def name(self) -> str:
        """The requested name, which an uncontested request gets."""

    def record(self, owner: Key, award: Award) -> Record | None:
        """Build the record for the name of the award; None for a name that is only reserved."""

    def decision(self, award: Award) -> Decision | None:
        """Build the decision that explains the award; None if there is nothing to explain."""


@frozen(kw_only=True)
class Requests:
    """All requests of an instance, and decisions that are final already."""

    requests: tuple[Request, ...] = ()
    decisions: tuple[Decision, ...] = ()


NO_REQUESTS = Requests()


class Contender(NamedTuple):
    """A request in a contest, and the instance that makes it."""

    owner: Key
    request: Request


class Rules(Protocol):
    """The pure rules of one capability under one configuration.

    Rules are values. The planner applies other rules to an instance when it is put again.
    """

    def requests(self, instance: Instance) -> Requests:
        """Return the requests of an instance that has opted in or not.

        They follow from the fields that ``requested`` returns.
        """

    def hold(self, instance: Instance) -> Hold | None:
        """Return why the requests of an instance are held, None if they are not."""

    def award(self, contenders: Sequence[Contender]) -> Iterable[Award]:
        """Decide a contest; yield one award for each contender, which come ranked."""


_REQUESTED: Final = (
    *("name", "accepts_checks", "checked", "ports", "ips", "metadata", "ending"),
    *("project", "replica", "workload", "one_off", "created_at", "address_filter"),
)
requested = attrgetter(*_REQUESTED)
"""The fields from which requests follow."""
considered = attrgetter("state", "is_unhealthy", "stale", *_REQUESTED)
"""The fields that rules read. A change of anything else, such as from starting to healthy,
changes no plan."""
