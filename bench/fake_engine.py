"""A fake engine in a thread of this process, whose containers a benchmark starts and stops."""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, Self

from tests.runtimes.fake_docker import FakeDocker

OPTS_IN: Final = {"koi.enable": "true"}


class FakeEngine:
    """One fake engine, used as a context manager."""

    def __init__(self, path: Path) -> None:
        self._fake = FakeDocker(path)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._fake.open(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._fake.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, count: int, labels: Mapping[str, str]) -> list[Any]:
        """Run containers with these labels, and return them."""
        return self.run_each(
            [{"com.docker.compose.service": f"s{number}", **labels} for number in range(count)]
        )

    def run_each(self, labels: Sequence[Mapping[str, str]]) -> list[Any]:
        """Run a container for each set of labels, each with a port of its own."""
        containers = self._fake.containers
        _, made = self._called(
            lambda: [
                containers.run(labels=dict(one), port=1024 + len(containers.all), health="healthy")
                for one in labels
            ]
        )
        return list(made)

    def start(self, container: Any) -> float:
        """Start a container; return the time before its event."""
        return self._called(lambda: self._fake.containers.start(container))[0]

    def stop(self, container: Any) -> float:
        """Stop a container; return the time before its events."""
        return self._called(lambda: self._fake.containers.stop(container))[0]

    def _called(self, function: Callable[[], Any]) -> tuple[float, Any]:
        future: Future[tuple[float, Any]] = Future()
        self._loop.call_soon_threadsafe(
            lambda: future.set_result((time.perf_counter(), function()))
        )
        return future.result()
