"""The wanted names and their addresses. The cost of a change does not depend on other names."""

from collections.abc import Iterable, Mapping, Sequence

from koi_agent.capabilities.dns.records import Name
from koi_agent.capabilities.dns.webhook.endpoints import Data
from koi_agent.core.key import Key


class Names:
    """The names of all owners; replicas share a name, and each adds its addresses."""

    def __init__(self) -> None:
        self._of_owner: dict[Key, Sequence[Name]] = {}
        self._holders: dict[str, dict[Key, frozenset[Data]]] = {}
        self._wanted: dict[str, frozenset[Data]] = {}

    @property
    def wanted(self) -> Mapping[str, frozenset[Data]]:
        """The addresses of each name that other hosts reach."""
        return self._wanted

    def put(self, owner: Key, names: Sequence[Name]) -> frozenset[str]:
        """Set the names of an owner; return those with other addresses than before."""
        before, after = self._of_owner.pop(owner, ()), tuple(names)
        if after:
            self._of_owner[owner] = after
        for name in before:
            self._holders.get(name.name, {}).pop(owner, None)
        for name in after:
            if name.addresses:
                self._holders.setdefault(name.name, {})[owner] = _data(name.addresses)
        changed = {one.name for one in (*before, *after)}
        return frozenset(name for name in changed if self._update(name))

    def _update(self, name: str) -> bool:
        held = self._holders.get(name)
        if not held:
            self._holders.pop(name, None)
            return self._wanted.pop(name, None) is not None
        data = frozenset[Data]().union(*held.values())
        is_changed = self._wanted.get(name) != data
        self._wanted[name] = data
        return is_changed

    def clear(self) -> None:
        """Forget all names."""
        for owner in self.owners():
            self.put(owner, ())

    def owners(self) -> Iterable[Key]:
        """Return all owners."""
        return [*self._of_owner]

    def of(self, owner: Key) -> Sequence[Name]:
        """Return the names of an owner."""
        return self._of_owner.get(owner, ())


def _data(addresses: Iterable[str]) -> frozenset[Data]:
    return frozenset(Data("AAAA" if ":" in one else "A", one) for one in addresses)
