"""What the network should know of an instance: DNS-SD services and host names."""

from dataclasses import dataclass
from enum import StrEnum

from koi_agent.core.instance import Standing
from koi_agent.core.metadata.txt import Txt


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A DNS-SD service; no ``addresses`` means this host's own. It is its ``owner``'s alone."""

    owner: str
    name: str
    type: str
    port: int
    addresses: tuple[str, ...] = ()
    txt: Txt = ()
    subtypes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Name it as it is to be found, in mDNS's own domain."""
        return f"{self.name}.{self.type}.local"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostName:
    """What one owner adds to a host name; replicas share a name and add an address each.

    No ``addresses`` means this host's own. ``name`` has no domain.
    """

    owner: str
    name: str
    addresses: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Name it as it is to be found, in mDNS's own domain."""
        return f"{self.name}.local"


Record = Service | HostName


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a provider says of a record: under which name it is known, or why it is not."""

    name: str
    status: Standing
    provider: str = ""
    reason: str = ""


class Outcome(StrEnum):
    """What the plan makes of a wish: ``HELD`` is wanted again as soon as the reason is gone."""

    WANTED = "wanted"
    HELD = "held"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What became of one wish of an instance: about what, and why, for its owner to read."""

    about: str
    outcome: Outcome
    reason: str
