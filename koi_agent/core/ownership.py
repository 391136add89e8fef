"""Which units are containers: one workload seen by two backends is one thing.

A container claims the unit it names (``PODMAN_SYSTEMD_UNIT``) and the unit whose control
group it runs in, and then the unit has no object of its own. The scope that a runtime made for
a container is followed by nobody: its name is another name of the container.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from koi_agent.core.instance import Instance

UNITS = "systemd"
"""The backend whose instances can be claimed."""

NOBODY: frozenset[str] = frozenset()

_MANAGER: Final = re.compile(r"user@[0-9]+\.service")
"""The unit of a user's manager: around all that the user runs."""
_POD: Final = re.compile(r".*-libpod_pod_[0-9a-f]+\.slice")
"""The slice that Podman makes for a pod, and for nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a container is: the unit it names, the control groups around it, their unit names."""

    unit: str = ""
    groups: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()


NOTHING = Claim()


class Ownership:
    """Indexes of who claims what; each look-up costs the same however many there are."""

    def __init__(self) -> None:
        self._claims: dict[str, Claim] = {}
        self._by_unit: dict[str, set[str]] = {}
        self._by_group: dict[str, set[str]] = {}
        self._by_scope: dict[str, set[str]] = {}
        self._group_of: dict[str, str] = {}
        self._unit_of: dict[str, str] = {}

    def put(self, instance: Instance) -> set[str]:
        """Note an instance; returns the keys of others that it may show or hide."""
        affected = self.drop(instance)
        if instance.backend == UNITS:
            self._group_of[instance.id] = instance.control_group
            self._unit_of[instance.control_group] = instance.id
            return affected | self.claimants(instance.id)
        group = instance.control_group
        claim = Claim(unit=instance.unit, groups=_ancestors(group), scopes=tuple(_scopes(group)))
        self._claims[instance.key] = claim
        for index, name in self._places(claim):
            index.setdefault(name, set()).add(instance.key)
        return affected | self._units(claim)

    def drop(self, instance: Instance) -> set[str]:
        """Forget an instance; returns the keys of others that it showed or hid."""
        if instance.backend == UNITS:
            affected = self.claimants(instance.id)
            group = self._group_of.pop(instance.id, "")
            if self._unit_of.get(group) == instance.id:
                del self._unit_of[group]
            return affected
        claim = self._claims.pop(instance.key, NOTHING)
        for index, name in self._places(claim):
            _discard(index, name, instance.key)
        return self._units(claim)

    def claimants(self, unit: str) -> set[str]:
        """Tell the keys of the containers that claim a unit."""
        group = self._group_of.get(unit, "")
        by_group = self._by_group.get(group, NOBODY) if group else NOBODY
        return set(self._by_unit.get(unit, NOBODY) | by_group)

    def known_as(self, unit: str) -> set[str]:
        """Tell the keys of what a unit's name means.

        That is the containers that claim it, else the unit itself, else, of a unit that is not
        followed, the containers in it: so a process's scope leads to its container.
        """
        if claimants := self.claimants(unit):
            return claimants
        if unit in self._group_of:
            return {f"{UNITS}:{unit}"}
        return set(self._by_scope.get(unit, NOBODY))

    def claimed(self, instance: Instance) -> bool:
        """Tell whether somebody else stands for an instance."""
        return instance.backend == UNITS and bool(self.claimants(instance.id))

    def unit_of(self, instance: Instance) -> str:
        """Tell the unit a container stands for: the one it names, or else the one around it."""
        claim = self._claims.get(instance.key, NOTHING)
        around = (self._unit_of[group] for group in claim.groups if group in self._unit_of)
        return claim.unit if claim.unit in self._group_of else next(around, "")

    def _units(self, claim: Claim) -> set[str]:
        around = {self._unit_of[group] for group in claim.groups if group in self._unit_of}
        return {f"{UNITS}:{unit}" for unit in around | {claim.unit} if unit}

    def _places(self, claim: Claim) -> Iterator[tuple[dict[str, set[str]], str]]:
        """Name the entries of a claim in the indexes."""
        if claim.unit:
            yield self._by_unit, claim.unit
        for group in claim.groups:
            yield self._by_group, group
        for scope in claim.scopes:
            yield self._by_scope, scope


def _ancestors(group: str) -> tuple[str, ...]:
    """Tell a control group and those around it, innermost first, without root and slices.

    A slice holds many workloads, and so does a user's manager: one container in it does not
    stand for all of them.
    """
    parts = _parts(group)
    around = range(len(parts), 0, -1)
    return tuple("/" + "/".join(parts[:end]) for end in around if not _holds_many(parts[end - 1]))


def _scopes(group: str) -> Iterator[str]:
    """Name the unit that a control group is part of, as its manager has it, and its pod.

    The unit is the outermost that is no slice (systemd's cg_path_get_unit), and of a user's
    manager if it is below one.
    """
    for part in _parts(group):
        if not _holds_many(part):
            yield from (part,) if part.endswith((".scope", ".service")) else ()
            return
        if _POD.fullmatch(part):
            yield part


def _parts(group: str) -> list[str]:
    return [part for part in group.split("/") if part]


def _holds_many(part: str) -> bool:
    return part.endswith(".slice") or bool(_MANAGER.fullmatch(part))


def _discard(index: dict[str, set[str]], name: str, key: str) -> None:
    keys = index.get(name, set())
    keys.discard(key)
    if not keys:
        index.pop(name, None)
