"""Which units are containers: one workload that two backends report is one instance.

A container, or a machine, claims the unit that it names (``PODMAN_SYSTEMD_UNIT``) and the unit
whose control group it runs in. A claimed unit has no object of its own. The scope that an engine
makes for a container is not an instance: its name is another name of the container.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from koi_agent.core.frozen import frozen
from koi_agent.core.instance import Instance
from koi_agent.core.key import Key
from koi_agent.core.metadata.parser import merge
from koi_agent.core.ports import with_declared, with_sockets

_NO_KEYS: Final[frozenset[Key]] = frozenset()
_USER_MANAGER: Final = re.compile(r"user@[0-9]+\.service")
"""The unit of a user's manager, which contains all units of that user."""
_POD_SLICE: Final = re.compile(r".*-libpod_pod_[0-9a-f]+\.slice")
"""The slice that Podman makes for one pod."""


@frozen(kw_only=True)
class Claim:
    """The claims of a container: the unit that it names, its control groups and their units.

    ``group`` is its own control group, from which ``groups`` and ``scopes`` follow.
    """

    unit: str = ""
    group: str = ""
    groups: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()


_NO_CLAIM: Final = Claim()
_Index = dict[str, set[Key]]


class Ownership:
    """Indexes of units and of the containers that claim them.

    Each look-up costs the same for any number of instances.
    """

    def __init__(self) -> None:
        self._claims: dict[Key, Claim] = {}
        self._by_unit: _Index = {}
        self._by_group: _Index = {}
        self._by_scope: _Index = {}
        self._units: dict[str, Key] = {}
        self._group_of: dict[str, str] = {}
        self._unit_of: dict[str, str] = {}
        self._aliases: dict[str, tuple[str, ...]] = {}
        self._unit_by_alias: dict[str, str] = {}

    def put(self, instance: Instance) -> set[Key]:
        """Add or replace an instance; return the keys of others that may look different.

        For a unit these are the containers that claim it: they have its metadata. For a container
        they are the units that it claims, or claimed before: they may be hidden or shown.
        """
        if self._claims_as_before(instance):
            return set()
        affected = self.drop(instance)
        if instance.traits.is_unit:
            self._units[instance.id] = instance.key
            self._group_of[instance.id] = instance.control_group
            self._unit_of[instance.control_group] = instance.id
            self._aliases[instance.id] = instance.aliases
            self._unit_by_alias |= dict.fromkeys(instance.aliases, instance.id)
            return affected | self.claimants(instance.id)
        group = instance.control_group
        claim = Claim(
            unit=instance.unit,
            group=group,
            groups=_ancestors(group),
            scopes=tuple(_scopes(group)),
        )
        self._claims[instance.key] = claim
        for index, name in self._entries(claim):
            index.setdefault(name, set()).add(instance.key)
        return affected | self._claimed_units(claim)

    def _claims_as_before(self, instance: Instance) -> bool:
        claim = self._claims.get(instance.key)
        return claim is not None and (claim.unit, claim.group) == (
            instance.unit,
            instance.control_group,
        )

    def drop(self, instance: Instance) -> set[Key]:
        """Remove an instance; return the same keys as ``put``."""
        if instance.traits.is_unit:
            affected = self.claimants(instance.id)
            group = self._group_of.pop(instance.id, "")
            self._units.pop(instance.id, None)
            if self._unit_of.get(group) == instance.id:
                del self._unit_of[group]
            for alias in self._aliases.pop(instance.id, ()):
                if self._unit_by_alias.get(alias) == instance.id:
                    del self._unit_by_alias[alias]
            return affected
        claim = self._claims.pop(instance.key, _NO_CLAIM)
        for index, name in self._entries(claim):
            _discard(index, name, instance.key)
        return self._claimed_units(claim)

    def claimants(self, unit: str) -> set[Key]:
        """Return the keys of the containers that claim a unit."""
        group = self._group_of.get(unit, "")
        by_group = self._by_group.get(group, _NO_KEYS) if group else _NO_KEYS
        return set(self._by_unit.get(unit, _NO_KEYS) | by_group)

    def known_as(self, unit: str) -> set[Key]:
        """Return the keys of the instances that a unit's name refers to.

        These are the containers that claim the unit, else the unit itself. For a unit that is not
        tracked they are the containers in it, so that a process's scope leads to its container.
        An alias refers to the same instances as the unit's own name.
        """
        unit = self._unit_by_alias.get(unit, unit)
        if claimants := self.claimants(unit):
            return claimants
        if key := self._units.get(unit):
            return {key}
        return set(self._by_scope.get(unit, _NO_KEYS))

    def is_claimed(self, instance: Instance) -> bool:
        """Return True if a container takes the place of this instance, or only one could."""
        if not instance.traits.is_shown:
            return True
        return instance.traits.is_unit and bool(self.claimants(instance.id))

    def unit_of(self, instance: Instance) -> Key | None:
        """Return the key of the unit that a container replaces.

        The unit that the container names goes before the unit around it.
        """
        claim = self._claims.get(instance.key, _NO_CLAIM)
        around = (self._unit_of[group] for group in claim.groups if group in self._unit_of)
        unit = claim.unit if claim.unit in self._units else next(around, "")
        return self._units.get(unit)

    def _claimed_units(self, claim: Claim) -> set[Key]:
        around = {self._unit_of[group] for group in claim.groups if group in self._unit_of}
        return {self._units[unit] for unit in around | {claim.unit} if unit in self._units}

    def _entries(self, claim: Claim) -> Iterator[tuple[_Index, str]]:
        """Yield the entries of a claim in the indexes: index and name."""
        if claim.unit:
            yield self._by_unit, claim.unit
        for group in claim.groups:
            yield self._by_group, group
        for scope in claim.scopes:
            yield self._by_scope, scope


def in_place_of(unit: Instance, container: Instance) -> Instance:
    """Return a container that takes the place of a unit.

    It has the unit's aliases, the ports of the unit's socket units, and the metadata of both.
    """
    metadata = merge(container.metadata, unit.metadata)
    ports = container.ports
    if container.traits.has_unit_ports:
        ports = with_declared(ports, metadata, is_routable=container.traits.is_routable)
    if unit.socket_ports:
        ports = with_sockets(ports, unit.socket_ports)
    return replace(container, metadata=metadata, aliases=unit.aliases, ports=ports)


def _ancestors(group: str) -> tuple[str, ...]:
    """Return a control group and its ancestors, innermost first, without root and slices.

    A slice and a user's manager contain many workloads: a container in it does not claim them.
    """
    parts = _parts(group)
    around = range(len(parts), 0, -1)
    return tuple("/" + "/".join(parts[:end]) for end in around if not _is_shared(parts[end - 1]))


def _scopes(group: str) -> Iterator[str]:
    """Yield the name of the unit that a control group is part of, and the slice of its pod.

    The unit is the outermost one that is not a slice, as in systemd's cg_path_get_unit(). Below a
    user's manager it is that manager's unit.
    """
    for part in _parts(group):
        if not _is_shared(part):
            yield from (part,) if part.endswith((".scope", ".service")) else ()
            return
        if _POD_SLICE.fullmatch(part):
            yield part


def _parts(group: str) -> list[str]:
    return [part for part in group.split("/") if part]


def _is_shared(part: str) -> bool:
    return part.endswith(".slice") or bool(_USER_MANAGER.fullmatch(part))


def _discard(index: _Index, name: str, key: Key) -> None:
    keys = index.get(name, set())
    keys.discard(key)
    if not keys:
        index.pop(name, None)
