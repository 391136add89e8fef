"""The record of one instance in DNS: its name, its addresses and its services."""

from koi_agent.core.frozen import frozen
from koi_agent.core.key import Key
from koi_agent.core.metadata.txt import Txt


@frozen(kw_only=True, order=True)
class Service:
    """A DNS-SD service at a name; ``port`` is the one to connect to.

    ``inside`` is the port that the instance itself uses; it is 0 for the main service of a type.
    """

    type: str
    port: int
    inside: int = 0
    txt: Txt = ()
    subtypes: tuple[str, ...] = ()


def service_label(name: str, domain: str, service: Service) -> str:
    """Return the first label of the name of a service, which may contain dots.

    No name of an instance has a colon, so that these labels are unique in the domain.
    """
    label = name.removesuffix(f".{domain}")
    return f"{label}:{service.inside}" if service.inside else label


@frozen(kw_only=True)
class Name:
    """A name of one ``owner``; replicas share a name, and each adds its addresses.

    ``name`` is complete, in lower case and without a final dot. ``addresses`` are those that other
    hosts use. ``local_addresses`` are those that only this host reaches; they are set if no other
    host reaches the instance. ``own_addresses`` are those of both that belong to the instance and
    not to this host.
    """

    owner: Key
    name: str
    addresses: tuple[str, ...] = ()
    local_addresses: tuple[str, ...] = ()
    own_addresses: tuple[str, ...] = ()
    services: tuple[Service, ...] = ()

    @property
    def title(self) -> str:
        """The full name."""
        return self.name
