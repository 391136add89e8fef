"""The objects of a fake cluster, each change of which has a version, as in etcd."""

import copy
import uuid
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from operator import attrgetter
from typing import Any, NamedTuple

Record = dict[str, Any]
Matches = Callable[[Record], bool]
NODE = "n1"
KINDS = ("pods", "services", "endpointslices")


class Change(NamedTuple):
    """A change: its version and kind, and the object before and after it."""

    version: int
    kind: str
    before: Record | None
    after: Record | None

    def event(self, matches: Matches) -> tuple[str, Record] | None:
        """Return type and object of the event for a watch of objects that match."""
        was = self.before is not None and matches(self.before)
        if self.after is not None and matches(self.after):
            return ("MODIFIED" if was else "ADDED"), self.after
        if was and self.before is not None:
            gone = copy.deepcopy(self.before)
            gone["metadata"]["resourceVersion"] = str(self.version)
            return "DELETED", gone
        return None


class FakeCluster:
    """Objects by kind and UID; ``on_change`` is called after each change."""

    def __init__(self) -> None:
        self.identity = str(uuid.uuid4())
        self.version = 1000
        self.compacted = 0
        self.objects: dict[str, dict[str, Record]] = {kind: {} for kind in KINDS}
        self.history: list[Change] = []
        self.on_change: Callable[[], None] = lambda: None
        self._count = 0

    @property
    def pods(self) -> dict[str, Record]:
        """Return the pods."""
        return self.objects["pods"]

    # What a list and a watch show

    def matching(self, kind: str, matches: Matches) -> list[Record]:
        """Return the objects that match, by namespace and name."""
        return self.matching_at(self.version, kind, matches)

    def matching_at(self, version: int, kind: str, matches: Matches) -> list[Record]:
        """Return the objects that matched at a version, which is not compacted."""
        objects = dict(self.objects[kind])
        for change in reversed(self.history):
            if change.version <= version:
                break
            if change.kind == kind:
                record = change.before or change.after or {}
                objects.pop(record["metadata"]["uid"], None)
                if change.before is not None:
                    objects[record["metadata"]["uid"]] = change.before
        found = [one for one in objects.values() if matches(one)]
        return sorted(
            found, key=lambda one: (one["metadata"]["namespace"], one["metadata"]["name"])
        )

    def since(self, kind: str, version: int, matches: Matches) -> Iterator[tuple[str, Record]]:
        """Yield type and object of all events after a version."""
        first = bisect_right(self.history, version, key=attrgetter("version"))
        for change in islice(self.history, first, None):
            if change.kind == kind and (event := change.event(matches)):
                yield event

    def newest(self, kind: str) -> int:
        """Return the version of the newest change of any object of a kind; 0 without any."""
        return next((one.version for one in reversed(self.history) if one.kind == kind), 0)

    def compact(self) -> None:
        """Drop the history, as etcd does after some minutes."""
        self.compacted = self.version
        self.history.clear()

    def replace(self, version: int) -> None:
        """Replace the cluster by another one, which has nothing in it."""
        self.identity = str(uuid.uuid4())
        for objects in self.objects.values():
            objects.clear()
        self.history.clear()
        self.version, self.compacted = version, 0

    # What happens to pods

    def _commit(self, uid: str, after: Record | None, kind: str = "pods") -> None:
        before = self.objects[kind].pop(uid, None)
        self.version += 1
        if after is not None:
            after = copy.deepcopy(after)
            after["metadata"]["resourceVersion"] = str(self.version)
            self.objects[kind][uid] = after
        self.history.append(Change(self.version, kind, before, after))
        self.on_change()

    def create(
        self, name: str = "", *, namespace: str = "shop", node: str = NODE, owner: str = ""
    ) -> str:
        """Create a pod that a node has accepted; return its UID."""
        self._count += 1
        uid = str(uuid.UUID(int=self._count))
        metadata: Record = {
            "name": name or f"web-{self._count}",
            "namespace": namespace,
            "uid": uid,
            "creationTimestamp": f"2026-11-28T21:00:{self._count % 60:02}Z",
            "annotations": {"koi.sylin.org/enable": "true", "other": "x" * 50},
            "managedFields": [{"manager": "kubelet"}],
        }
        if owner:
            metadata["ownerReferences"] = [
                {"kind": "ReplicaSet", "name": "web", "uid": owner, "controller": True}
            ]
        container = {"name": "c", "image": "web:1", "ports": [{"containerPort": 8080}]}
        status = {"phase": "Pending", "qosClass": "BestEffort"}
        spec = {"containers": [container], "nodeName": node}
        self._commit(uid, {"metadata": metadata, "spec": spec, "status": status})
        return uid

    def change(self, uid: str, act: Callable[[Record], None]) -> None:
        """Change a pod, if it is there."""
        if record := copy.deepcopy(self.pods.get(uid)):
            act(record)
            self._commit(uid, record)

    def run(self, uid: str) -> None:
        """Start the containers of a pod, which gets an address."""

        def act(record: Record) -> None:
            if record["status"]["phase"] in ("Succeeded", "Failed"):
                return
            number = uuid.UUID(uid).int
            record["status"] |= {
                "phase": "Running",
                "podIPs": [
                    {"ip": f"10.1.{number // 250}.{number % 250}"},
                    {"ip": f"fd00::{number:x}"},
                ],
                "containerStatuses": [
                    {"name": "c", "ready": True, "restartCount": 0, "state": {"running": {}}}
                ],
                "conditions": [{"type": "Ready", "status": "True"}],
            }

        self.change(uid, act)

    def crash(self, uid: str) -> None:
        """Stop the container, which the kubelet starts again later."""

        def act(record: Record) -> None:
            for one in record["status"].get("containerStatuses", ()):
                one["restartCount"] += 1
                one["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}

        self.change(uid, act)

    def annotate(self, uid: str, name: str) -> None:
        """Set the service name of a pod."""

        def act(record: Record) -> None:
            record["metadata"]["annotations"]["koi.sylin.org/name"] = name

        self.change(uid, act)

    def end(self, uid: str) -> None:
        """End a pod by itself."""

        def act(record: Record) -> None:
            record["status"]["phase"] = "Succeeded"

        self.change(uid, act)

    def terminate(self, uid: str) -> None:
        """Mark a pod as one that its node has to end."""

        def act(record: Record) -> None:
            record["metadata"]["deletionTimestamp"] = "2026-11-28T22:00:00Z"

        self.change(uid, act)

    def remove(self, uid: str) -> None:
        """Remove a pod, as its node does at the end: with a time of grace that is over."""
        if uid in self.pods:
            self.terminate(uid)
            self._commit(uid, None)

    # Services

    def serve(self, name: str, pods: Iterable[str], *, node_port: int = 0, **more: Any) -> None:
        """Create or replace a Service of a name, and the slice with the pods behind it."""
        annotations = {"koi.sylin.org/name": name.title(), **more.pop("annotations", {})}
        metadata: Record = {"name": name, "namespace": "shop", "uid": f"s-{name}"}
        port = {"name": "http", "port": 80, "targetPort": 8080, "nodePort": node_port}
        spec = {"type": "NodePort", "ports": [port], **more}
        self._commit(
            f"s-{name}",
            {"metadata": {**metadata, "annotations": annotations}, "spec": spec},
            "services",
        )
        labels = {"kubernetes.io/service-name": name}
        endpoints = [
            {
                "addresses": ["10.1.0.1"],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "nodeName": self.pods[uid]["spec"]["nodeName"] if uid in self.pods else NODE,
                "targetRef": {"kind": "Pod", "namespace": "shop", "uid": uid},
            }
            for uid in pods
        ]
        record = {
            "metadata": {**metadata, "uid": f"e-{name}", "name": f"{name}-x", "labels": labels},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": endpoints,
        }
        self._commit(f"e-{name}", record, "endpointslices")

    def withdraw(self, name: str) -> None:
        """Remove a Service and its slice."""
        if f"s-{name}" in self.objects["services"]:
            self._commit(f"s-{name}", None, "services")
            self._commit(f"e-{name}", None, "endpointslices")
