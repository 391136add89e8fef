"""Which backends are followed now: as configured, and anew when that changes."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Never

from koi_agent.config import Config
from koi_agent.core.contracts import Backend
from koi_agent.core.errors import BackendAbsent, BackendLost
from koi_agent.core.events import Change, Followed, Unfollowed
from koi_agent.core.registry import Registry
from koi_agent.follow.follower import Follower

Make = Callable[[str, Config], Backend]


class Followers:
    """One ``Follower`` for each backend of ``config``, which is made by ``make``.

    ``registry`` follows the same backends; ``apply`` is how changes get to it.
    """

    def __init__(
        self, config: Config, registry: Registry, apply: Callable[[Change], None], make: Make
    ) -> None:
        self._config = config
        self._registry = registry
        self._apply = apply
        self._make = make
        self._group = asyncio.TaskGroup()
        self._followers = {name: self._made(name) for name in config.backends}
        self._tasks: dict[str, asyncio.Task[Never]] = {}

    async def run(self) -> Never:
        """Follow until cancelled."""
        async with self._group:
            for name in self._followers:
                self._start(name)
            await asyncio.Event().wait()
        raise AssertionError("following has no end")

    async def change(self, config: Config) -> None:
        """Follow as configured now; what is configured as before goes on undisturbed."""
        before, self._config = self._config, config
        for name in set(before.backends) - set(config.backends):
            await self._stop(name)
        for name in config.backends:
            if name not in self._followers:
                self._apply(Followed(name, name))
                self._followers[name] = self._made(name)
                self._start(name)
            elif _wishes(before, name) != _wishes(config, name):
                backend = self._make(name, config)
                self._followers[name].renew(backend, interval=config.resync_interval)

    def _made(self, name: str) -> Follower:
        backend, interval = self._make(name, self._config), self._config.resync_interval
        return Follower(backend, self._apply, self._registry.differences, interval=interval)

    def _start(self, name: str) -> None:
        run = self._followers[name].run()
        self._tasks[name] = self._group.create_task(run, name=f"follow {name}")

    async def _stop(self, name: str) -> None:
        """Follow one no more: when its session is closed, what is known of it is forgotten."""
        del self._followers[name]
        task = self._tasks.pop(name)
        task.cancel()
        await asyncio.wait([task])
        self._apply(Unfollowed(name))

    async def settled(self) -> None:
        """Wait until each backend has listed once, or was found wanting."""
        for follower in list(self._followers.values()):
            await follower.settled.wait()

    @property
    def late(self) -> list[str]:
        """Name the backends that have not settled yet."""
        return [f.name for f in self._followers.values() if not f.settled.is_set()]

    def overdue(self) -> str:
        """Say what of a backend's has overrun its own deadline twofold; "" if nothing has."""
        return "; ".join(filter(None, (f.overdue() for f in self._followers.values())))

    async def resync(self, backend: str) -> Mapping[str, Mapping[str, str]]:
        """List a backend, or for "" all that are there, and tell what was different.

        Raises ``BackendLost``, when the others have listed.
        """
        different: dict[str, Mapping[str, str]] = {}
        troubles: list[str] = []
        for follower in [f for f in self._followers.values() if backend in ("", f.name)]:
            try:
                different[follower.name] = await follower.resync()
            except BackendAbsent:
                if backend:
                    raise
            except BackendLost as lost:
                troubles.append(str(lost))
        if troubles:
            raise BackendLost("; ".join(troubles))
        return different


def _wishes(config: Config, name: str) -> object:
    """Pick what of a configuration concerns a backend."""
    return config.backend(name, object), config.resync_interval
