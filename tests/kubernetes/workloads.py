"""Records of pods, Deployments and Services, as an administrator writes them."""

from collections.abc import Mapping
from typing import Any, Final

ENABLED: Final = {"koi.sylin.org/enable": "true"}
PORT: Final = 8080


def pod(name: str, node: str, annotations: Mapping[str, str] = ENABLED) -> dict[str, Any]:
    """Return a pod that a node has to run."""
    metadata = {"name": name, "labels": {"app": name}, "annotations": dict(annotations)}
    return {"metadata": metadata, "spec": pod_spec(node)}


def pod_spec(node: str, image: str = "web:1") -> dict[str, Any]:
    ports = [{"containerPort": PORT}]
    return {"nodeName": node, "containers": [{"name": "c", "image": image, "ports": ports}]}


def deployment(name: str, node: str, replicas: int) -> dict[str, Any]:
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels, "annotations": dict(ENABLED)},
        "spec": pod_spec(node),
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"metadata": {"name": name}, "spec": spec}


def service(
    name: str, app: str, annotations: Mapping[str, str] | None = None, **spec: Any
) -> dict[str, Any]:
    """Return a Service for the pods of an app."""
    metadata = {"name": name, "annotations": dict(annotations or {})}
    ports = [{"name": "http", "port": 80, "targetPort": PORT}]
    return {"metadata": metadata, "spec": {"selector": {"app": app}, "ports": ports, **spec}}
