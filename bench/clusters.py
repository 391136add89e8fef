"""Clusters with many pods, which a benchmark changes at a rate: a real one, or a fake one."""

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Coroutine, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Protocol, Self

from tests.kubernetes.cluster import Cluster
from tests.kubernetes.crowd import Crowd, named
from tests.runtimes.fake_cluster import NODE
from tests.runtimes.fake_kubernetes import FakeKubernetes
from tests.runtimes.followed_kubernetes import started, write_kubeconfig
from tests.unit.certificates import authority

NAMESPACE: Final = "default"
Moments = Mapping[str, list[float]]
"""When pods were changed, or signals of them came: by UID, in order."""


class Pods(Protocol):
    """A cluster with pods of ``NODE``, which ``kubeconfig`` leads to."""

    kubeconfig: Path

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...

    def fill(self, count: int) -> None:
        """Start pods."""

    def pour(self, rate: int, seconds: float) -> Moments:
        """Change one pod after the other; return when each was."""


class RealPods:
    """The pods of a real API server, which are changed over several connections."""

    def __init__(self, folder: Path) -> None:
        self._cluster = Cluster(folder)
        self.kubeconfig = folder / "kubeconfig-admin"
        self._uids: list[str] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self._cluster)
        self._cluster.admitted()
        self._cluster.calls.create("nodes", {"metadata": {"name": NODE}})
        self._crowd = self._stack.enter_context(Crowd(self._cluster, NAMESPACE, NODE))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def fill(self, count: int) -> None:
        self._crowd.start(range(count))
        items = self._cluster.calls.get("pods", NAMESPACE)["items"]
        uids = {one["metadata"]["name"]: one["metadata"]["uid"] for one in items}
        self._uids = [uids[named(number)] for number in range(count)]

    def pour(self, rate: int, seconds: float) -> Moments:
        moments: dict[str, list[float]] = defaultdict(list)
        began = time.perf_counter()

        def change(calls: Any, number: int) -> None:
            time.sleep(max(0.0, began + number / rate - time.perf_counter()))
            pod = number % len(self._uids)
            moments[self._uids[pod]].append(time.perf_counter())
            self._crowd.rename(calls, pod, f"N{number}")

        self._crowd.each(change, range(int(rate * seconds)))
        return moments


class FakePods:
    """The pods of the fake API server, in a thread of this process."""

    def __init__(self, folder: Path) -> None:
        _, tls = authority(folder, "127.0.0.1")
        self.kubeconfig = folder / "kubeconfig"
        self._folder = folder
        self._fake = FakeKubernetes(tls)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._fake.open())
        write_kubeconfig(self._folder, self._fake.port)
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._fake.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def fill(self, count: int) -> None:
        async def start() -> None:
            for _ in range(count):
                started(self._fake.cluster)

        self._run(start())

    def pour(self, rate: int, seconds: float) -> Moments:
        moments: dict[str, list[float]] = defaultdict(list)
        uids = list(self._fake.cluster.pods)

        async def change() -> None:
            began = time.perf_counter()
            for number in range(int(rate * seconds)):
                await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
                uid = uids[number % len(uids)]
                moments[uid].append(time.perf_counter())
                self._fake.cluster.annotate(uid, f"N{number}")

        self._run(change())
        return moments

    def _run(self, work: Coroutine[Any, Any, object]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()
