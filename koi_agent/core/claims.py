"""Which units are containers: one workload seen by two backends is one thing.

A container claims the unit it names (``PODMAN_SYSTEMD_UNIT``) and the unit whose control
group it runs in, and then the unit has no object of its own.
"""

from koi_agent.core.instance import Instance

UNITS = "systemd"
"""The backend whose instances can be claimed."""

NOBODY: frozenset[str] = frozenset()


class Claims:
    """Indexes of who claims what; each look-up costs the same however many there are."""

    def __init__(self) -> None:
        self._claims: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._by_unit: dict[str, set[str]] = {}
        self._by_group: dict[str, set[str]] = {}
        self._group_of: dict[str, str] = {}
        self._unit_of: dict[str, str] = {}

    def put(self, instance: Instance) -> set[str]:
        """Note an instance; returns the keys of others that it may show or hide."""
        affected = self.drop(instance)
        if instance.backend == UNITS:
            self._group_of[instance.id] = instance.control_group
            self._unit_of[instance.control_group] = instance.id
            return affected | self.claimants(instance.id)
        claim = (instance.unit, _ancestors(instance.control_group))
        self._claims[instance.key] = claim
        if instance.unit:
            self._by_unit.setdefault(instance.unit, set()).add(instance.key)
        for group in claim[1]:
            self._by_group.setdefault(group, set()).add(instance.key)
        return affected | self._units(claim)

    def drop(self, instance: Instance) -> set[str]:
        """Forget an instance; returns the keys of others that it showed or hid."""
        if instance.backend == UNITS:
            affected = self.claimants(instance.id)
            group = self._group_of.pop(instance.id, "")
            if self._unit_of.get(group) == instance.id:
                del self._unit_of[group]
            return affected
        claim = self._claims.pop(instance.key, ("", ()))
        _discard(self._by_unit, claim[0], instance.key)
        for group in claim[1]:
            _discard(self._by_group, group, instance.key)
        return self._units(claim)

    def claimants(self, unit: str) -> set[str]:
        """Tell the keys of the containers that claim a unit."""
        group = self._group_of.get(unit, "")
        by_group = self._by_group.get(group, NOBODY) if group else NOBODY
        return set(self._by_unit.get(unit, NOBODY) | by_group)

    def claimed(self, instance: Instance) -> bool:
        """Tell whether somebody else stands for an instance."""
        return instance.backend == UNITS and bool(self.claimants(instance.id))

    def unit_of(self, instance: Instance) -> str:
        """Tell the unit a container stands for: the one it names, or else the one around it."""
        named, groups = self._claims.get(instance.key, ("", ()))
        around = (self._unit_of[group] for group in groups if group in self._unit_of)
        return named if named in self._group_of else next(around, "")

    def _units(self, claim: tuple[str, tuple[str, ...]]) -> set[str]:
        around = {self._unit_of[group] for group in claim[1] if group in self._unit_of}
        return {f"{UNITS}:{unit}" for unit in around | {claim[0]} if unit}


def _ancestors(group: str) -> tuple[str, ...]:
    """Tell a control group and those around it, innermost first, without root and slices.

    A slice holds many workloads: one container in it does not stand for all of them.
    """
    parts = [part for part in group.split("/") if part]
    around = ("/" + "/".join(parts[:length]) for length in range(len(parts), 0, -1))
    return tuple(group for group in around if not group.endswith(".slice"))


def _discard(index: dict[str, set[str]], name: str, key: str) -> None:
    keys = index.get(name, set())
    keys.discard(key)
    if not keys:
        index.pop(name, None)
