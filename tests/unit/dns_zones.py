"""Names and zones of DNS, for tests."""

from collections.abc import Sequence

from koi_agent.capabilities.dns.records import Name, Service
from koi_agent.capabilities.dns.zone import Zones
from koi_agent.core.contracts import Completable
from koi_agent.core.key import Key
from koi_agent.core.plan.full_names import Domains

DOMAINS = Domains(main="internal", extra=("home.example", "apps.home.example"))


def key(id_: str) -> Key:
    return Key("docker", id_)


def named(id_: str, name: str, *addresses: str, services: Sequence[Service] = ()) -> Name:
    return Name(owner=key(id_), name=name, addresses=addresses, services=tuple(services))


def complete(session: object) -> None:
    """Complete a session, as a feed does once all that is wanted has been put."""
    assert isinstance(session, Completable)
    session.complete()


def zones(*names: Name) -> Zones:
    made = Zones(DOMAINS, 30)
    owners: dict[Key, list[Name]] = {}
    for name in names:
        owners.setdefault(name.owner, []).append(name)
    for owner, of_owner in owners.items():
        made.put(owner, of_owner)
    return made


WEB = Service(type="_http._tcp", port=8080, txt=(("path", '/ä"\\'), ("v", "1")))
