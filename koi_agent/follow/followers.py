"""Follows the configured backends, and applies changes of the configuration."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Never

from koi_agent.config import Config, EngineConfig
from koi_agent.core.contracts import Backend
from koi_agent.core.errors import BackendAbsent, BackendLost
from koi_agent.core.events import Change, Followed, Unfollowed
from koi_agent.core.registry import Registry
from koi_agent.follow.follower import Follower

Make = Callable[[str, Config], Backend]


class Followers:
    """One ``Follower`` for each backend of ``config``; ``make`` creates the backends.

    ``registry`` has the same backends, and ``apply`` passes changes to it.
    """

    def __init__(
        self, config: Config, registry: Registry, apply: Callable[[Change], None], make: Make
    ) -> None:
        self._config = config
        self._registry = registry
        self._apply = apply
        self._make = make
        self._group = asyncio.TaskGroup()
        self._followers = {name: self._follower(name) for name in config.backends}
        self._tasks: dict[str, asyncio.Task[Never]] = {}

    async def run(self) -> Never:
        """Follow until cancelled."""
        async with self._group:
            for name in self._followers:
                self._start(name)
            await asyncio.Event().wait()
        raise AssertionError("the followers run until they are cancelled")

    async def change(self, config: Config) -> None:
        """Apply a new configuration; backends whose settings are unchanged are not disturbed."""
        before, self._config = self._config, config
        for name in set(before.backends) - set(config.backends):
            await self._stop(name)
        for name in config.backends:
            if name not in self._followers:
                self._apply(Followed(name, name))
                self._followers[name] = self._follower(name)
                self._start(name)
            elif _settings(before, name) != _settings(config, name):
                backend = self._make(name, config)
                self._followers[name].renew(backend, interval=config.resync_interval)

    def _follower(self, name: str) -> Follower:
        backend, interval = self._make(name, self._config), self._config.resync_interval
        return Follower(backend, self._apply, self._registry.differences, interval=interval)

    def _start(self, name: str) -> None:
        run = self._followers[name].run()
        self._tasks[name] = self._group.create_task(run, name=f"follow {name}")

    async def _stop(self, name: str) -> None:
        """Stop following a backend; its instances are forgotten once its session is closed."""
        del self._followers[name]
        task = self._tasks.pop(name)
        task.cancel()
        await asyncio.wait([task])
        self._apply(Unfollowed(name))

    async def settled(self) -> None:
        """Wait until each backend has listed or its connection has failed."""
        for follower in list(self._followers.values()):
            await follower.settled.wait()

    @property
    def late(self) -> list[str]:
        """The backends that have not settled yet."""
        return [f.name for f in self._followers.values() if not f.settled.is_set()]

    def overdue(self) -> str:
        """Return sentences about steps that took twice their timeouts, or ""; this is a bug."""
        return "; ".join(filter(None, (f.overdue() for f in self._followers.values())))

    async def resync(self, backend: str) -> Mapping[str, Mapping[str, str]]:
        """List a backend, or all that are present for ""; return the differences.

        Raises ``BackendLost``, after the other backends have listed.
        """
        different: dict[str, Mapping[str, str]] = {}
        failures: list[str] = []
        for follower in [f for f in self._followers.values() if backend in ("", f.name)]:
            try:
                different[follower.name] = await follower.resync()
            except BackendAbsent:
                if backend:
                    raise
            except BackendLost as lost:
                failures.append(str(lost))
        if failures:
            raise BackendLost("; ".join(failures))
        return different


def _settings(config: Config, name: str) -> object:
    """Return the settings that concern a backend."""
    settings = config.backend(name, object)
    # Only the containers of an engine have images.
    image_labels = isinstance(settings, EngineConfig) and config.capabilities.image_labels
    return settings, config.resync_interval, image_labels
