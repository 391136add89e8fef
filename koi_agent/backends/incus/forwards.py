"""The ports that managed networks forward to instances, on addresses of this host."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field

from koi_agent.core.frozen import frozen
from koi_agent.core.instance import PortMapping


@frozen()
class Forwards:
    """Forwarded ports by the address of the instance that they lead to."""

    by_target: Mapping[str, tuple[PortMapping, ...]] = field(default_factory=dict)

    def ports_to(self, addresses: Iterable[str]) -> Iterator[PortMapping]:
        """Yield the ports that lead to one of some addresses."""
        for address in addresses:
            yield from self.by_target.get(address, ())
