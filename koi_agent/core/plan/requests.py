"""What one instance asks for, whatever others ask for: names not yet settled, reasons for the rest.

It follows from the instance and the policy alone, so it need not be found out again before one of
them changes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from koi_agent.core.checks import HealthCheck, check_of
from koi_agent.core.errors import BadInput
from koi_agent.core.instance import EnabledBy, Health, Instance, InstanceState, PortMetadata
from koi_agent.core.metadata import names, service_types
from koi_agent.core.metadata.txt import Txt, txt_over
from koi_agent.core.plan.endpoints import Endpoint, endpoints
from koi_agent.core.plan.records import Decision, Outcome

HOST: Final = "host name"
CHECK: Final = "health check"
"""What decisions on a host name and on a check are about."""
UNHEALTHY: Final = "it is unhealthy"
"""Why something is held that is checked on, for it may get well."""
MOST_SERVICES: Final = 32
"""Ports of one instance that are announced, or refused one by one: it may have thousands."""
_LABEL_MARKS: Final = frozenset(".\"'")
"""What a service name does not hold: clients of mDNS show and escape them each in its own way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the administrator decided, and what holds for all.

    ``host_name`` is this host's own, in one label. ``checks`` tells whether health is checked,
    where metadata says nothing else each ``interval`` seconds for ``timeout`` at most. ``lost``
    are the backends that have been away for so long that what is known of their instances is
    believed no more.
    """

    host_name: str
    partner_labels: bool = True
    withdraw_unhealthy: bool = True
    checks: bool = True
    interval: float = 30.0
    timeout: float = 5.0
    lost: frozenset[str] = frozenset()

    def admits(self, instance: Instance) -> bool:
        """Tell whether an instance has opted in, in a way that counts."""
        metadata = instance.metadata
        by_partner = metadata.enabled_by is EnabledBy.PARTNER
        return metadata.enable is True and (self.partner_labels or not by_partner)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRequest:
    """A service, and the name it would have; ``number`` sets replicas apart, from 1."""

    about: str
    name: str
    number: int
    type: str
    offer: Endpoint
    txt: Txt = ()
    subtypes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRequest:
    """A host name; those of one ``family`` may share it. No ``addresses`` means this host's own."""

    name: str
    family: tuple[str, ...]
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """All that an instance asks for; ``held`` says why it gets nothing of that now, if so.

    ``said`` are the decisions that depend on nobody else.
    """

    services: tuple[ServiceRequest, ...] = ()
    host: HostRequest | None = None
    check: HealthCheck | None = None
    said: tuple[Decision, ...] = ()
    held: str = ""


considered = attrgetter(
    *("name", "state", "state_detail", "health", "checked", "ports", "ips", "metadata"),
    *("stale", "project", "replica", "created_at"),
)
"""What of an instance decides: whatever else changes, changes no plan."""


def requests_of(instance: Instance, policy: Policy) -> Requests:
    """Find out what an instance asks for."""
    return _Reading(instance, policy).requests()


class _Reading:
    """One instance, read wish by wish."""

    def __init__(self, instance: Instance, policy: Policy) -> None:
        self._instance = instance
        self._policy = policy
        self._said: list[Decision] = []

    def requests(self) -> Requests:
        reachable, refused = endpoints(self._instance)
        for refusal in refused[:MOST_SERVICES]:
            self._refuse(f"port {refusal.key}", refusal.reason)
        self._refuse_rest(sum(max(0, len(some) - MOST_SERVICES) for some in (reachable, refused)))
        few = reachable[:MOST_SERVICES]
        return Requests(
            services=tuple(wish for offer in few for wish in self._service(offer)),
            host=self._host(reachable),
            check=self._check(),
            said=tuple(self._said),
            held=self._held(),
        )

    def _refuse(self, about: str, reason: str) -> None:
        self._said.append(Decision(about=about, outcome=Outcome.REFUSED, reason=reason))

    def _refuse_rest(self, number: int) -> None:
        if number > 0:
            reason = f"no more than {MOST_SERVICES} of an instance are looked at"
            self._refuse(f"{number} more ports", reason)

    def _hold(self, about: str) -> None:
        """Hold what needs a port: what has just started does not listen yet."""
        reason = "no port of it is known"
        self._said.append(Decision(about=about, outcome=Outcome.HELD, reason=reason))

    def _held(self) -> str:
        instance, policy = self._instance, self._policy
        if instance.stale and instance.backend in policy.lost:
            return f"{instance.backend} has not answered for too long"
        if instance.state is InstanceState.PAUSED:
            return "it is paused"
        if policy.withdraw_unhealthy and instance.health is Health.UNHEALTHY:
            return UNHEALTHY
        return ""

    def _service(self, offer: Endpoint) -> Iterator[ServiceRequest]:
        metadata, about = self._instance.metadata, f"port {offer.inside}/{offer.protocol}"
        of_port = dict(metadata.ports).get((offer.inside, offer.protocol), PortMetadata())
        try:
            name = self._base(of_port, about)
        except BadInput as bad:
            self._refuse(about, str(bad))
            return
        subtypes = metadata.subtypes if of_port.subtypes is None else of_port.subtypes
        yield ServiceRequest(
            about=about,
            name=name,
            number=max(1, self._instance.replica),
            type=service_types.resolve(offer.inside, offer.protocol, metadata),
            offer=offer,
            txt=self._txt(of_port, about),
            subtypes=subtypes or (),
        )

    def _txt(self, of_port: PortMetadata, about: str) -> Txt:
        txt, refused = txt_over(of_port.txt, self._instance.metadata.txt, "")
        for refusal in refused:
            self._refuse(f"{about}, TXT {refusal.key}", refusal.reason)
        return txt

    def _base(self, of_port: PortMetadata, about: str) -> str:
        """Take the strongest name that can be a service's; raises ``BadInput`` if none can."""
        asked = (of_port.name, self._instance.metadata.name)
        for name in filter(None, asked):
            try:
                return _service_name(name)
            except BadInput as bad:
                self._refuse(f"{about}, name", str(bad))
        return _service_name(self._instance.name)

    def _host(self, reachable: Sequence[Endpoint]) -> HostRequest | None:
        metadata, instance = self._instance.metadata, self._instance
        if not instance.ports:
            self._hold(HOST)
            return None
        try:
            name = self._host_name(metadata.dns_name or metadata.name or instance.name, reachable)
        except BadInput as bad:
            self._refuse(HOST, str(bad))
            return None
        addresses = {address for offer in reachable for address in offer.addresses or ("",)}
        replicas = (instance.backend, instance.project, instance.name)
        return HostRequest(
            name=name,
            family=replicas if instance.project else (instance.key,),
            addresses=() if "" in addresses else tuple(sorted(addresses)),
        )

    def _host_name(self, asked: str, reachable: Sequence[Endpoint]) -> str:
        if not reachable:
            raise BadInput("nothing of it can be reached by others")
        name = names.dns_name(asked).removesuffix(".local")
        if "." in name:
            text = "mDNS host names have one label before .local: nss-mdns finds no others"
            raise BadInput(f"{names.shown(name)} has dots, and {text}")
        if name == self._policy.host_name.lower():
            raise BadInput(f"{names.shown(name)} is this host's own name")
        return name

    def _check(self) -> HealthCheck | None:
        """Decide on a check; where a runtime checks by itself that is enough."""
        policy = self._policy
        if not policy.checks:
            return None
        try:
            check = check_of(self._instance, policy.interval, policy.timeout)
        except BadInput as bad:
            if self._instance.ports:
                self._refuse(CHECK, str(bad))
            else:
                self._hold(CHECK)
            return None
        if check:
            decision = Decision(about=CHECK, outcome=Outcome.WANTED, reason=check.words)
            self._said.append(decision)
        return check


def _service_name(name: str) -> str:
    accepted = names.instance_name(name)
    if marks := "".join(sorted(_LABEL_MARKS & set(accepted))):
        raise BadInput(f"{names.shown(name)} can't name a service: it has {marks} in it")
    return accepted
