"""Many pods of a real cluster, which are created and changed over several connections."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from tests.kubernetes import workloads
from tests.kubernetes.calls import Calls
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.kubelet import running

CONNECTIONS: Final = 8


class Crowd:
    """The pods of a namespace on one node, without a kubelet; used as a context manager."""

    def __init__(self, cluster: Cluster, namespace: str, node: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._node = node
        self._local = threading.local()
        self._opened: list[Calls] = []
        self._pool = ThreadPoolExecutor(CONNECTIONS)

    def __enter__(self) -> "Crowd":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        for one in self._opened:
            one.close()

    def _calls(self) -> Calls:
        """Return the connection of this thread."""
        if not hasattr(self._local, "calls"):
            self._local.calls = self._cluster.connected()
            self._opened.append(self._local.calls)
        calls: Calls = self._local.calls
        return calls

    def each(self, act: Callable[[Calls, int], Any], numbers: Iterable[int]) -> None:
        """Call a function for each number, some of them at the same time."""
        for _ in self._pool.map(lambda number: act(self._calls(), number), numbers):
            pass

    def start(self, numbers: Iterable[int]) -> None:
        """Create pods that run."""
        self.each(self._start, numbers)

    def _start(self, calls: Calls, number: int) -> None:
        record = workloads.pod(named(number), self._node)
        made = calls.create("pods", record, self._namespace)
        change = {"status": running(made, number)}
        calls.patch("pods", self._namespace, named(number), change, "status")

    def rename(self, calls: Calls, number: int, name: str) -> None:
        """Set the service name of a pod."""
        change = {"metadata": {"annotations": {"koi.sylin.org/name": name}}}
        calls.patch("pods", self._namespace, named(number), change)

    def end(self, calls: Calls, number: int) -> None:
        """Remove a pod at once."""
        calls.delete("pods", self._namespace, named(number), now=True)


def named(number: int) -> str:
    """Return the name of a pod."""
    return f"pod-{number}"
