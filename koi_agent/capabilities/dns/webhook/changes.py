"""The JSON that carries out decisions: pure. The agent recognizes its records by their data."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from koi_agent.capabilities.dns.marks import mark_text
from koi_agent.capabilities.dns.webhook.decisions import Act, Decision
from koi_agent.capabilities.dns.webhook.endpoints import ADDRESSES, Data, Endpoint, Json
from koi_agent.capabilities.dns.webhook.listing import Found


class Adjusted(NamedTuple):
    """The adjusted endpoints of a name; several may be of one type.

    Without ``mark``, the provider drops TXT records. ``left_out`` are addresses that it drops.
    """

    addresses: tuple[Endpoint, ...] = ()
    mark: Json | None = None
    left_out: tuple[str, ...] = ()

    @property
    def data(self) -> frozenset[Data]:
        """All addresses."""
        return frozenset(data for one in self.addresses for data in one.data)


class Changes(NamedTuple):
    """Changes of the protocol; each old endpoint of an update has its new one."""

    create: tuple[Json, ...] = ()
    update: tuple[tuple[Json, Json], ...] = ()
    delete: tuple[Json, ...] = ()


def changes(decision: Decision, found: Found, adjusted: Adjusted, mark: str) -> Changes:
    """Return the changes that carry out a decision about a name."""
    match decision.act:
        case Act.ADD_MARK:
            return Changes(create=(adjusted.mark,) if adjusted.mark else ())
        case Act.REMOVE_MARK:
            own = mark_text(mark)
            return _joined(_without(one, {Data("TXT", own)}) for one in found.marks)
        case Act.WRITE:
            parts = (_of_type(kind, decision, found, adjusted) for kind in ADDRESSES)
            return _joined(parts)
        case None:
            return Changes()


def document(several: Iterable[Changes]) -> Json:
    """Return the body of a request that makes changes."""
    joined = _joined(several)
    lists = {
        "create": [*joined.create],
        "updateOld": [old for old, _ in joined.update],
        "updateNew": [new for _, new in joined.update],
        "delete": [*joined.delete],
    }
    return {name: endpoints for name, endpoints in lists.items() if endpoints}


def _joined(several: Iterable[Changes]) -> Changes:
    parts = [*several]
    return Changes(
        create=tuple(one for part in parts for one in part.create),
        update=tuple(one for part in parts for one in part.update),
        delete=tuple(one for part in parts for one in part.delete),
    )


def _without(endpoint: Endpoint, removed: Iterable[Data]) -> Changes:
    """Return the changes that remove records from an endpoint and keep the others."""
    gone = frozenset(removed)
    kept = _raw_targets(endpoint, gone)
    if len(kept) == len(endpoint.data):
        return Changes()
    if not kept:
        return Changes(delete=(endpoint.raw,))
    return Changes(update=((endpoint.raw, {**endpoint.raw, "targets": kept}),))


def _raw_targets(endpoint: Endpoint, removed: frozenset[Data]) -> Sequence[str]:
    targets = zip(endpoint.data, endpoint.raw["targets"], strict=True)
    return [raw for data, raw in targets if data not in removed]


def _of_type(kind: str, decision: Decision, found: Found, adjusted: Adjusted) -> Changes:
    """Return the changes of the addresses of one type.

    New addresses go into an endpoint that has addresses of the agent, because a provider may keep
    only one endpoint of a type at a name. An endpoint of others gets none.
    """
    claimed = decision.claim.sent if decision.claim else frozenset[Data]()
    own = [one for one in found.addresses if one.type == kind and claimed & {*one.data}]
    templates = [one for one in adjusted.addresses if one.type == kind]
    added = {data for data in decision.added if data.type == kind}
    if not added or not own:
        created = tuple(one.raw for one in templates if added & {*one.data})
        return _joined([Changes(create=created), *(_without(one, decision.removed) for one in own)])
    host = next((one for one in own if decision.removed & {*one.data}), own[0])
    kept = _raw_targets(host, decision.removed)
    new = {
        **templates[0].raw,
        "dnsName": host.raw["dnsName"],
        "targets": [*kept, *sorted(data.text for data in added)],
    }
    rest = (_without(one, decision.removed) for one in own if one is not host)
    return _joined([Changes(update=((host.raw, new),)), *rest])
