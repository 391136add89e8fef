"""The endpoints that are wanted, as the provider adjusts them: pure."""

from collections.abc import Iterable, Iterator, Mapping

from koi_agent.capabilities.dns.marks import mark_name, mark_text
from koi_agent.capabilities.dns.webhook.changes import Adjusted
from koi_agent.capabilities.dns.webhook.endpoints import (
    ADDRESSES,
    TXT,
    Data,
    Endpoint,
    Json,
    address_endpoint,
    name_of,
    read,
    text_endpoint,
)
from koi_agent.core.errors import BadInput

Wanted = Mapping[str, frozenset[Data]]


def endpoints(wanted: Wanted, ttl: int, mark: str) -> Iterator[Json]:
    """Yield the endpoints of names, and those of their marks."""
    for name, data in wanted.items():
        for kind in ADDRESSES:
            if addresses := sorted(one.text for one in data if one.type == kind):
                yield address_endpoint(name, kind, ttl, addresses)
        yield text_endpoint(mark_name(name), mark_text(mark), ttl)


def adjusted(wanted: Wanted, answer: Iterable[object], mark: str) -> Mapping[str, Adjusted]:
    """Return the endpoints of names as the provider has adjusted them.

    An endpoint with another name is ignored, and so are addresses that were not requested.
    """
    own = Data(TXT, mark_text(mark))
    marks = {mark_name(name): name for name in wanted}
    found: dict[str, Adjusted] = dict.fromkeys(wanted, Adjusted())
    for name, endpoint in _readable(answer):
        if name in marks and own in endpoint.data:
            found[marks[name]] = found[marks[name]]._replace(mark=endpoint.raw)
        elif name in wanted and (kept := _requested(endpoint, wanted[name])):
            addresses = (*found[name].addresses, kept)
            found[name] = found[name]._replace(addresses=addresses)
    return {
        name: one._replace(left_out=tuple(sorted(data.text for data in wanted[name] - one.data)))
        for name, one in found.items()
    }


def _readable(answer: Iterable[object]) -> Iterator[tuple[str, Endpoint]]:
    for element in answer:
        try:
            yield name_of(element), read(element)
        except BadInput:
            continue


def _requested(endpoint: Endpoint, wanted: frozenset[Data]) -> Endpoint | None:
    """Return an endpoint with the addresses that were requested only, None without any."""
    pairs = zip(endpoint.data, endpoint.raw["targets"], strict=True)
    kept = [(data, target) for data, target in pairs if data in wanted]
    if not kept:
        return None
    targets = [target for _, target in kept]
    return endpoint._replace(
        data=tuple(data for data, _ in kept), raw={**endpoint.raw, "targets": targets}
    )
