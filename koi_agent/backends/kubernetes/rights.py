"""The rights that the agent needs in a cluster: the paths of all requests follow from this table.

The ClusterRole in ``packaging/examples/kubernetes`` grants these rights and no others.
"""

from typing import Final, NamedTuple


class Right(NamedTuple):
    """Some verbs on a resource of an API group, or on its object ``name``."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    name: str = ""

    def path(self, part: str = "") -> str:
        """Return the path of the resource; ``part`` is "" or ``/namespaces/NAME``."""
        root = f"/apis/{self.group}/v1" if self.group else "/api/v1"
        path = f"{root}{part}/{self.resource}"
        return f"{path}/{self.name}" if self.name else path


_FOLLOWED: Final = ("list", "watch")
PODS: Final = Right("", "pods", _FOLLOWED)
SERVICES: Final = Right("", "services", _FOLLOWED)
SLICES: Final = Right("discovery.k8s.io", "endpointslices", _FOLLOWED)
NODES: Final = Right("", "nodes", ("get",))
IDENTITY: Final = Right("", "namespaces", ("get",), "kube-system")
"""The namespace whose UID a cluster has for its life."""
ALL: Final = (PODS, SERVICES, SLICES, NODES, IDENTITY)


def summary() -> str:
    """Return all rights as text for a person."""
    by_verbs: dict[tuple[str, ...], list[str]] = {}
    for one in ALL:
        name = f"{one.resource}/{one.name}" if one.name else one.resource
        by_verbs.setdefault(one.verbs, []).append(name)
    return "; ".join(f"{', '.join(verbs)} {', '.join(names)}" for verbs, names in by_verbs.items())
