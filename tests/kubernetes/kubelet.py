"""The part of a kubelet that a cluster sees: the states of the pods of one node."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

from tests.kubernetes.calls import CallFailed, Calls
from tests.kubernetes.cluster import Cluster

INTERVAL: Final = 0.1
"""Seconds between two looks at the pods."""


class Kubelet:
    """Starts and ends the pods of a node; ``keeps`` is True while pods that are deleted stay."""

    def __init__(self, calls: Calls, node: str) -> None:
        self.keeps = False
        self._calls = calls
        self._node = node
        self._ending = threading.Event()
        self._count = 0

    def run(self) -> None:
        """Start and end pods until ``end``; a server that is away is asked again."""
        while not self._ending.wait(INTERVAL):
            with suppress(CallFailed):
                found = self._calls.call(
                    "GET", f"/api/v1/pods?fieldSelector=spec.nodeName={self._node}"
                )
                for pod in found["items"]:
                    with suppress(CallFailed):  # another has just changed it
                        self._act(pod)

    def end(self) -> None:
        self._ending.set()

    def _act(self, pod: Mapping[str, Any]) -> None:
        metadata = pod["metadata"]
        if "deletionTimestamp" in metadata:
            if not self.keeps:
                self._calls.delete("pods", metadata["namespace"], metadata["name"], now=True)
        elif pod["status"]["phase"] == "Pending":
            self._count += 1
            change = {"status": running(pod, self._count)}
            self._calls.patch("pods", metadata["namespace"], metadata["name"], change, "status")


def running(pod: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return the status of a pod that runs and is ready, with the addresses of a number."""
    ips = [f"10.244.{number // 250}.{number % 250 + 1}", f"fd00:10:244::{number + 1:x}"]
    return {
        "phase": "Running",
        "hostIP": "192.0.2.1",
        "podIP": ips[0],
        "podIPs": [{"ip": ip} for ip in ips],
        "startTime": pod["metadata"]["creationTimestamp"],
        "conditions": [{"type": kind, "status": "True"} for kind in ("Ready", "ContainersReady")],
        "containerStatuses": [
            {
                "name": one["name"],
                "image": one["image"],
                "imageID": "",
                "ready": True,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": pod["metadata"]["creationTimestamp"]}},
            }
            for one in pod["spec"]["containers"]
        ],
    }


@contextmanager
def kubelet(cluster: Cluster, node: str) -> Iterator[Kubelet]:
    """Add a node to a cluster, and run its kubelet while the block runs."""
    cluster.calls.create("nodes", {"metadata": {"name": node}})
    calls = cluster.connected()
    one = Kubelet(calls, node)
    thread = threading.Thread(target=one.run)
    thread.start()
    try:
        yield one
    finally:
        one.end()
        thread.join()
        calls.close()
