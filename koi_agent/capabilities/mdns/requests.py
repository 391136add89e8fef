"""The requests of an instance to mDNS: a service for each endpoint, and a host name."""

from collections.abc import Hashable, Iterator, Sequence
from sys import intern
from typing import Final

from koi_agent.capabilities.mdns import service_names
from koi_agent.capabilities.mdns.records import HostName, MdnsRecord, Service
from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import Instance, PortMetadata, RecordState
from koi_agent.core.key import Key
from koi_agent.core.metadata import service_types
from koi_agent.core.metadata.txt import Txt, merge_txt
from koi_agent.core.plan.host_names import host_name
from koi_agent.core.plan.records import Decision, Subject
from koi_agent.core.plan.requests import Award, Policy, Request, Requests
from koi_agent.core.reach.addresses import Family
from koi_agent.core.reach.model import Endpoint, Unreachable, reachability

HOST: Final = "host name"
MOST_SERVICES: Final = 32
"""Ports of one instance that are announced, or refused one by one: it may have thousands."""


@frozen(kw_only=True)
class ServiceRequest:
    """A request for a service; ``number`` distinguishes the replicas of a ``family``, from 1."""

    about: str
    name: str
    number: int
    family: tuple[str, ...]
    type: str
    endpoint: Endpoint
    txt: Txt = ()
    subtypes: tuple[str, ...] = ()

    @property
    def contest(self) -> Hashable:
        """Services of one type compete for a name without its number."""
        return service_names.unnumbered(self.name.lower()), self.type

    @property
    def content(self) -> Hashable:
        """Requests of replicas with the same content are one service.

        An instance of another family can neither replace the record nor cause its withdrawal.
        """
        where = self.endpoint
        place = where.port, where.addresses, where.interfaces, where.families
        return self.family, self.name.lower(), self.type, place

    def record(self, owner: Key, award: Award) -> MdnsRecord:
        """Build the service under the name of the award."""
        return Service(
            owner=owner,
            name=award.name,
            type=self.type,
            port=self.endpoint.port,
            addresses=self.endpoint.addresses,
            interfaces=self.endpoint.interfaces,
            # A client that can't connect by IPv6 continues with IPv4; an IPv4-only client can't.
            family=Family.IPV6 if self.endpoint.family is Family.IPV6 else None,
            txt=self.txt,
            subtypes=self.subtypes,
        )

    def decision(self, award: Award) -> Decision:
        """Describe the service, or the refusal."""
        return _decision(Subject.SERVICE, self.about, award, self._description(award))

    def _description(self, award: Award) -> str:
        where = ", ".join(self.endpoint.addresses) or "this host"
        if self.endpoint.interfaces:
            where = f"{where} on {', '.join(self.endpoint.interfaces)}"
        subtypes = f" ({', '.join(self.subtypes)})" if self.subtypes else ""
        why = f" ({award.reason})" if award.reason else ""
        service = f"'{award.name}' of type {self.type}{subtypes}"
        return f"{service} at {where}, port {self.endpoint.port}{why}"


@frozen(kw_only=True)
class HostRequest:
    """A request for a host name; requests of one ``family`` share the name.

    No ``addresses`` means this host's own, of ``version`` of IP, on ``interfaces``. Without
    interfaces, these are all networks.
    """

    name: str
    family: tuple[str, ...]
    addresses: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    version: Family | None = None

    @property
    def contest(self) -> Hashable:
        """Host names compete for the name itself."""
        return self.name, ""

    def record(self, owner: Key, award: Award) -> MdnsRecord:
        """Build the host name."""
        return HostName(
            owner=owner,
            name=award.name,
            addresses=self.addresses,
            interfaces=self.interfaces,
            family=self.version,
        )

    def decision(self, award: Award) -> Decision:
        """Describe the host name, or the refusal."""
        return _decision(Subject.HOST_NAME, HOST, award, f"{award.name}.local")


def _decision(subject: Subject, about: str, award: Award, description: str) -> Decision:
    lost = RecordState.HELD if award.is_shared else RecordState.REFUSED
    state = RecordState.WANTED if award.name else lost
    reason = description if award.name else award.reason
    return Decision(subject=subject, about=about, state=state, reason=reason)


def requests_of(instance: Instance, policy: Policy) -> Requests:
    """Return the requests of an instance that has opted in."""
    return _Reading(instance, policy).requests()


class _Reading:
    """The requests of one instance, collected with the decisions that are final already."""

    def __init__(self, instance: Instance, policy: Policy) -> None:
        self._instance = instance
        self._policy = policy
        self._http_port = service_types.http_port(instance)
        self._decisions: list[Decision] = []

    def requests(self) -> Requests:
        reach = reachability(self._instance, self._policy.network)
        reachable, unreachable = reach.endpoints, reach.unreachable
        for one in unreachable[:MOST_SERVICES]:
            self._decide_unreachable(one)
        self._refuse_rest(sum(max(0, len(s) - MOST_SERVICES) for s in (reachable, unreachable)))
        few = reachable[:MOST_SERVICES]
        services: list[Request] = [one for endpoint in few for one in self._service(endpoint)]
        return Requests(
            requests=(*services, *self._host(reachable, unreachable)),
            decisions=tuple(self._decisions),
        )

    def _refuse(self, subject: Subject, about: str, reason: str) -> None:
        self._decide(subject, about, RecordState.REFUSED, reason)

    def _decide(self, subject: Subject, about: str, state: RecordState, reason: str) -> None:
        self._decisions.append(Decision(subject=subject, about=about, state=state, reason=reason))

    def _decide_unreachable(self, port: Unreachable) -> None:
        state = RecordState.HELD if port.is_held else RecordState.REFUSED
        self._decide(Subject.PORT, intern(f"port {port.port}"), state, port.reason)

    def _refuse_rest(self, number: int) -> None:
        if number > 0:
            reason = f"an instance announces at most {MOST_SERVICES} ports"
            self._refuse(Subject.PORT, f"{number} more ports", reason)

    def _service(self, endpoint: Endpoint) -> Iterator[ServiceRequest]:
        metadata = self._instance.metadata
        about = intern(f"port {endpoint.inside}/{endpoint.protocol}")  # thousands share one
        of_port = dict(metadata.ports).get((endpoint.inside, endpoint.protocol), PortMetadata())
        try:
            name = self._name(of_port, about)
        except BadInput as bad:
            self._refuse(Subject.SERVICE, about, str(bad))
            return
        subtypes = metadata.subtypes if of_port.subtypes is None else of_port.subtypes
        yield ServiceRequest(
            about=about,
            name=name,
            number=max(1, self._instance.replica),
            family=_family_of_ports(self._instance),
            type=service_types.resolve(
                endpoint.inside, endpoint.protocol, metadata, self._http_port
            ),
            endpoint=endpoint,
            txt=self._txt(of_port, about),
            subtypes=subtypes or (),
        )

    def _txt(self, of_port: PortMetadata, about: str) -> Txt:
        txt, refused = merge_txt(of_port.txt, self._instance.metadata.txt, "")
        for refusal in refused:
            self._refuse(Subject.TXT, f"{about}, TXT {refusal.key}", refusal.reason)
        return txt

    def _name(self, of_port: PortMetadata, about: str) -> str:
        """Return the first usable service name; raise ``BadInput`` without one."""
        for name in filter(None, (of_port.name, self._instance.metadata.name)):
            try:
                return self._accepted(name)
            except BadInput as bad:
                self._refuse(Subject.NAME, f"{about}, name", str(bad))
        return self._accepted(self._instance.service_name)

    def _accepted(self, name: str) -> str:
        """Return a service name that may be announced; raise ``BadInput`` otherwise."""
        accepted = service_names.accepted(name)
        self._policy.names.check(service_names.unnumbered(accepted))
        return accepted

    def _host(
        self, reachable: Sequence[Endpoint], unreachable: Sequence[Unreachable]
    ) -> Iterator[HostRequest]:
        instance = self._instance
        if not reachable and all(port.is_held for port in unreachable):
            # An instance that has just started does not listen yet.
            reason = "no port of it is open" if unreachable else "no port of it is known"
            self._decide(Subject.HOST_NAME, HOST, RecordState.HELD, reason)
            return
        try:
            name = host_name(instance, self._policy, is_reachable=bool(reachable))
        except BadInput as bad:
            self._refuse(Subject.HOST_NAME, HOST, str(bad))
            return
        yield _host_request(name, _family(instance), reachable)


def _family(instance: Instance) -> tuple[str, ...]:
    """Return what the replicas of one service of a project have in common."""
    replicas = (instance.backend, instance.project, instance.service_name)
    return replicas if instance.project else instance.key


def _family_of_ports(instance: Instance) -> tuple[str, ...]:
    """Return what the instances to which one port may lead have in common.

    The pods of one Service can have different owners. They are in one namespace.
    """
    if instance.traits.shares_ports:
        return instance.backend, instance.project, ""
    return _family(instance)


def _host_request(name: str, family: tuple[str, ...], reachable: Sequence[Endpoint]) -> HostRequest:
    """Request a host name for the addresses of all endpoints; this host's include the others."""
    of_host = [endpoint for endpoint in reachable if not endpoint.addresses]
    kept = of_host or reachable
    interfaces = {one for endpoint in kept for one in endpoint.interfaces}
    families = {endpoint.family for endpoint in kept}
    return HostRequest(
        name=name,
        family=family,
        addresses=tuple(sorted({one for endpoint in kept for one in endpoint.addresses})),
        interfaces=tuple(sorted(interfaces)) if all(one.interfaces for one in kept) else (),
        version=families.pop() if of_host and len(families) == 1 else None,
    )
