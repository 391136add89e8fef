"""Which pods are followed: those of a node or of all, in some namespaces or in all."""

from koi_agent.backends.kubernetes.pods import Place
from koi_agent.config.kubernetes import ALL_NODES
from koi_agent.core.frozen import frozen

_NOT_ENDED = "status.phase!=Succeeded,status.phase!=Failed"


@frozen(kw_only=True)
class Scope:
    """The pods to follow for ``backend``.

    ``context`` is that of the kubeconfig. ``node`` is the name of a node or "all", and ``host`` is
    the name that this host has as a node. Without ``namespaces``, all are followed.
    """

    backend: str
    host: str
    context: str = ""
    namespaces: tuple[str, ...] = ()
    node: str = ""

    @property
    def place(self) -> Place:
        """Return the origin of all responses."""
        return Place(backend=self.backend, node=self.watched_node or self.host)

    @property
    def watched_node(self) -> str:
        """Return the node whose pods are followed, "" for all."""
        return "" if self.node == ALL_NODES else self.node or self.host

    @property
    def query(self) -> dict[str, str]:
        """Return the query that selects the pods."""
        node = self.watched_node
        return {"fieldSelector": f"spec.nodeName={node},{_NOT_ENDED}" if node else _NOT_ENDED}

    @property
    def namespaced(self) -> tuple[str, ...]:
        """Return the part of a path for each namespace, or that for all."""
        return tuple(f"/namespaces/{name}" for name in self.namespaces) or ("",)
