"""Containers in the network of another one: which container publishes their ports.

A container joins the network that another one has at that moment, which may be one that it has
joined itself. If the container that owns the network restarts, it gets a new one: the containers
that joined stay in the old one, which nothing reaches.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from koi_agent.backends.docker.containers import HOST, JOINED, Container
from koi_agent.backends.http_engine.json_fields import nanoseconds

MAX_CHAIN: Final = 32
"""Maximum length of a chain of containers. An engine permits no cycle, but may report one."""


class Network(NamedTuple):
    """The network of a container: its ``owner``, None if that is unknown.

    ``is_lost`` is True if the owner has a new network since the container joined.
    """

    owner: Container | None
    is_lost: bool = False

    @property
    def is_host(self) -> bool:
        """Return True for the network of this host."""
        return self.owner is not None and self.owner.network == HOST


class Networks:
    """The networks of ``containers``, by id; call ``put`` and ``drop`` for each that changes."""

    def __init__(self, containers: Mapping[str, Container]) -> None:
        self._containers = containers
        # Ids of the containers that share a container's network, by that container's id.
        self._joiners: dict[str, set[str]] = {}
        for container in containers.values():
            self.put(container)

    def put(self, container: Container) -> None:
        """Record whose network a container has joined."""
        if target := _joined_id(container):
            self._joiners.setdefault(target, set()).add(container.id)

    def drop(self, container: Container) -> None:
        """Forget whose network a container had joined."""
        target = _joined_id(container)
        joiners = self._joiners.get(target, set())
        joiners.discard(container.id)
        if not joiners:
            self._joiners.pop(target, None)

    def of(self, container: Container) -> Network:
        """Return the network of a container."""
        if not _joined_id(container):
            return Network(container)
        *joined, owner = self._chain(container)
        if _joined_id(owner):
            return Network(None)
        lost = owner.network != HOST and _is_lost(joined, owner)
        return Network(owner, lost)

    def _chain(self, container: Container) -> list[Container]:
        """Return a container, the one that it has joined, and so on, as far as they are known."""
        chain = [container]
        while (target := _joined_id(chain[-1])) and len(chain) < MAX_CHAIN:
            following = self._containers.get(target)
            if following is None:
                break
            chain.append(following)
        return chain

    def joiners(self, id_: str) -> Iterator[str]:
        """Yield the ids of all containers that share a container's network, sorted by distance."""
        seen, near = {id_}, [id_]
        while near:
            near = sorted({one for id_ in near for one in self._joiners.get(id_, ())} - seen)
            seen.update(near)
            yield from near


def _is_lost(joined: list[Container], owner: Container) -> bool:
    """Return True if the first of these joined, by itself or by another, an older network."""
    moments = [_started(one) for one in joined]
    return any(0 < moment <= moments[0] and moment < _started(owner) for moment in moments)


def _started(container: Container) -> int:
    return nanoseconds(container.inspected.started_at) if container.inspected else 0


def _joined_id(container: Container) -> str:
    """Return the id of the container whose network this one shares, or ""."""
    joins = container.network.startswith(JOINED)
    return container.network.removeprefix(JOINED) if joins else ""
