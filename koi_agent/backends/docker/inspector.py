"""The workers that inspect containers."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Never

from koi_agent.backends.docker.api import DockerAPI, NoSuchContainer
from koi_agent.backends.docker.containers import (
    Container,
    Inspected,
    container_from_inspection,
    copied,
)
from koi_agent.backends.docker.images import Images, own_labels
from koi_agent.backends.docker.labels import ContainerLabels, shorthand
from koi_agent.backends.docker.services import Services
from koi_agent.backends.docker.tracker import Tracker
from koi_agent.backends.docker.tunables import Tunables
from koi_agent.backends.http_engine.inspect_queue import InspectQueue
from koi_agent.backends.http_engine.json_fields import as_object, get_object, get_strs
from koi_agent.core.errors import BackendLost, BadInput
from koi_agent.core.instance import InstanceState, PortMapping
from koi_agent.host.container_groups import ContainerGroups
from koi_agent.host.population import PopulationWatch

log = logging.getLogger(__name__)

HAS_PROCESSES = frozenset({InstanceState.RUNNING, InstanceState.PAUSED})
"""States of a container that has a process; one that restarts may have none."""


class Inspector:
    """Inspects the containers in ``queue``, and passes the results to ``tracker``.

    ``uninspected`` are the ids whose inspection failed, to be inspected after the next list.
    ``on_bad_record`` is called with what can't be parsed, and why. A container is inspected again
    a while after the engine failed to. ``services`` has the ports of a swarm's services. Without
    ``images`` the labels of images count.

    ``population`` watches the control groups of containers. ``dead`` are the ids of those that the
    engine calls running though no process is left. The control group decides: they have ended.
    """

    def __init__(
        self,
        api: DockerAPI,
        queue: InspectQueue,
        tracker: Tracker,
        on_bad_record: Callable[[str, BadInput], None],
        *,
        images: Images | None,
        tunables: Tunables,
    ) -> None:
        self.population = PopulationWatch(self._on_emptied)
        self.services = Services(api.inspect_service)
        self.dead: set[str] = set()
        self.uninspected: set[str] = set()
        self._api = api
        self._queue = queue
        self._tracker = tracker
        self._on_bad_record = on_bad_record
        self._images = images
        self._retry = tunables.inspect_retry
        self._empty_check = tunables.empty_check
        self._suspects: set[str] = set()
        self._groups = ContainerGroups()

    async def run(self) -> Never:
        """Inspect one container after the other. Several of these may run at a time."""
        while True:
            id_ = await self._queue.get()
            try:
                container = await self._inspect(id_)
            except (BadInput, BackendLost) as error:
                # The failure affects one container: an engine may hang at one and answer for all
                # others. If the engine is lost, its event stream and its lists fail.
                self._report(id_, error)
                if self._queue.finish(id_):
                    self.uninspected.add(id_)
                    self._tracker.inspection_failed(id_)
            else:
                if self._queue.finish(id_):
                    self.uninspected.discard(id_)
                    self._apply(id_, container)

    def _on_emptied(self, id_: str) -> None:
        """Inspect a container whose control group is empty, unless an event reports its end.

        The group of a container that is no longer known is forgotten.
        """
        if self._tracker.known(id_):
            self._ask_later(id_)
        else:
            self._forget_group(id_)

    def _forget_group(self, id_: str) -> None:
        if id_ not in self.dead:  # the engine still lists such a container as running
            self.population.forget(id_)

    def _ask_later(self, id_: str) -> None:
        asyncio.get_running_loop().call_later(self._empty_check, self._ask_about_empty, id_)

    def _ask_about_empty(self, id_: str) -> None:
        if not self._tracker.known(id_):
            self._forget_group(id_)
        elif self.population.is_empty(id_):
            self._suspects.add(id_)
            self._queue.put(id_, urgent=True)

    def _apply(self, id_: str, container: Container | None) -> None:
        """Apply an inspection, unless the control group shows that the container has ended.

        One that was requested while the group was empty is newer than the end. Another one may
        be older.
        """
        is_suspect = id_ in self._suspects or id_ in self.dead
        self._suspects.discard(id_)
        self.dead.discard(id_)
        if container is None:
            self.population.forget(id_)
        elif self._has_no_process(id_, container):
            if is_suspect:
                self.dead.add(id_)
                self._tracker.found_dead(id_, container.status)
                return
            self._ask_later(id_)
        self._tracker.apply_inspection(id_, container, asyncio.get_running_loop().time())

    def _has_no_process(self, id_: str, container: Container) -> bool:
        """Return True if a container that should have a process has none."""
        inspected = container.inspected
        if inspected is None or container.state not in HAS_PROCESSES:
            self.population.forget(id_)
            return False
        self.population.follow(id_, inspected.control_group, run=inspected.started_at)
        return self.population.is_empty(id_)

    async def _inspect(self, id_: str) -> Container | None:
        """Return the container, or None if it is gone; raise ``BadInput`` or ``BackendLost``."""
        try:
            record = await self._api.inspect_container(id_)
        except NoSuchContainer:
            return None
        labels = await self._labels(id_, record)
        container = container_from_inspection(record, self._api.engine.kind, labels)
        ingress = await self.services.ports_of(container.labels.swarm_service)
        return await self._completed(container, ingress)

    async def _labels(self, id_: str, record: object) -> ContainerLabels | None:
        """Return the labels of a container if they are known: they never change.

        Without those of the image, the labels are found here. Otherwise the inspection has them.
        """
        known = self._tracker.known(id_)
        config = get_object(as_object(record), "Config")
        # A list has the labels only. An inspection also has a variable that counts as one.
        is_complete = known and (known.inspected or not shorthand(get_strs(config, "Env")))
        if known and known.labels.is_final and is_complete:
            return known.labels
        if self._images is None:
            return None
        image = await self._images.find(self._api, record)
        if image.is_transient:
            self._queue.put_after(self._retry, id_)
        return own_labels(record, self._api.engine.kind, image)

    def _report(self, id_: str, error: BadInput | BackendLost) -> None:
        if isinstance(error, BadInput):
            self._on_bad_record(f"container {id_:.12}", error)
        else:
            log.debug("container %.12s: %s", id_, error)
            self._queue.put_after(self._retry, id_)

    async def _completed(self, container: Container, ingress: tuple[PortMapping, ...]) -> Container:
        """Set the ports of the service and the control group.

        Docker does not name the group, and Podman may name one that is gone. It is searched for
        once in a run.
        """
        inspected, known = container.inspected, self._tracker.known(container.id)
        if inspected is None:
            return container
        before = known and known.inspected
        if before and before.control_group and _same_run(before, inspected):
            group = before.control_group
        else:
            pid, named = inspected.main_pid, inspected.control_group
            group = await self._groups.find(container.id, pid, named=named)
        complete = replace(inspected, control_group=group, ingress=ingress)
        return copied(container, inspected=complete)


def _same_run(one: Inspected, other: Inspected) -> bool:
    return (one.main_pid, one.started_at) == (other.main_pid, other.started_at)
