"""The services that are registered with systemd-resolved, indexed for each way they are found."""

from collections import Counter

from koi_agent.capabilities.mdns.records import Service
from koi_agent.capabilities.mdns.service_names import numbered
from koi_agent.core.frozen import frozen
from koi_agent.core.key import Key


@frozen()
class Registration:
    """A registered service and its number, 0 if its state is not known."""

    owner: Key
    service: Service
    number: int

    @property
    def name(self) -> str:
        """The name under which the service is registered."""
        return numbered(self.service.name, self.number)


class Registrations:
    """The registered services, indexed by path, owner and name."""

    def __init__(self) -> None:
        self._by_path: dict[str, Registration] = {}
        self._paths: dict[Key, set[str]] = {}
        self._names: Counter[tuple[str, str]] = Counter()

    def at(self, path: str) -> Registration | None:
        """Return the service at an object path."""
        return self._by_path.get(path)

    def of(self, owner: Key) -> list[tuple[str, Registration]]:
        """Return the services of an owner, with their paths."""
        return [(path, self._by_path[path]) for path in sorted(self._paths.get(owner, ()))]

    def has(self, name: str, kind: str) -> bool:
        """Return True if a service of this type has the name."""
        return self._names[name, kind] > 0

    def put(self, path: str, registration: Registration) -> None:
        """Store a service in place of the one at the same path."""
        self.remove(path)
        self._by_path[path] = registration
        self._paths.setdefault(registration.owner, set()).add(path)
        self._names[registration.name, registration.service.type] += 1

    def remove(self, path: str) -> None:
        """Remove the service at a path, if there is one."""
        if (registration := self._by_path.pop(path, None)) is None:
            return
        self._names[registration.name, registration.service.type] -= 1
        if not self._names[registration.name, registration.service.type]:
            del self._names[registration.name, registration.service.type]
        self._paths[registration.owner].discard(path)
        if not self._paths[registration.owner]:
            del self._paths[registration.owner]
