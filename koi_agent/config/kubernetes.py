"""The settings of Kubernetes, and the readers of their values."""

import re
from typing import Final

from koi_agent.config.keys import Assignments, key
from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.metadata.names import filled_text, shown
from koi_agent.core.unit_file.syntax import words

ALL_NODES: Final = "all"
"""The word in ``Node=`` that stands for all nodes."""
MOST_NAMESPACES: Final = 16
_NAMESPACE: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NODE: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")


def _path(value: str) -> str:
    """Parse the absolute path of a file, or empty."""
    path = filled_text(value) if value else ""
    if path and not path.startswith("/"):
        raise BadInput(f"{shown(value)} is not an absolute path; write /etc/koi-runtime/kubeconfig")
    return path


def _context(value: str) -> str:
    """Parse the name of a context, or empty."""
    if value[:1] in ("'", '"'):
        raise BadInput(f"{shown(value)} has quotes; write the name of the context without them")
    return filled_text(value) if value else ""


def _namespaces(value: str) -> tuple[str, ...]:
    """Parse a list of names of namespaces."""
    found = tuple(dict.fromkeys(words(value)))
    if len(found) > MOST_NAMESPACES:
        raise BadInput(f"{len(found)} namespaces are too many; leave the key empty to follow all")
    for name in found:
        if not _NAMESPACE.fullmatch(name):
            raise BadInput(f"{shown(name)} is not the name of a namespace; write default")
    return found


def _node(value: str) -> str:
    """Parse the name of a node, or empty."""
    if value and not _NODE.fullmatch(value):
        raise BadInput(f"{shown(value)} is not the name of a node; write its name or {ALL_NODES}")
    return value


@frozen(kw_only=True)
class KubernetesConfig:
    """Settings of Kubernetes.

    ``kubeconfig`` is a path, or "" for the credential and the service account. ``context`` is the
    name of a context in it, or "" for the current one. ``node`` is the name of this host's node, ""
    if it has the name of the host, or "all". Without ``namespaces``, all are followed.
    """

    kubeconfig: str = key(
        "Kubeconfig",
        "",
        _path,
        "Path of the kubeconfig file. If empty, the credential kubernetes.kubeconfig is used, or"
        " the service account of a pod. Without any of these, Kubernetes is not followed.",
    )
    context: str = key(
        "Context",
        "",
        _context,
        "Context of the kubeconfig file. If empty, its current context is used.",
    )
    namespaces: tuple[str, ...] = key(
        "Namespaces",
        "",
        _namespaces,
        "Namespaces to follow, at most 16. If empty, all are followed. Assignments are combined.",
        assignments=Assignments.LIST,
    )
    node: str = key(
        "Node",
        "",
        _node,
        "Name of this host's node, whose pods are followed, or all for the pods of all nodes. If"
        " empty, the node has the name of the host.",
    )
