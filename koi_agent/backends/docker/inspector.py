"""The workers that inspect containers."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Never

from koi_agent.backends.docker.api import DockerAPI, NoSuchContainer
from koi_agent.backends.docker.containers import Container, container_from_inspection
from koi_agent.backends.docker.inspect_queue import InspectQueue
from koi_agent.backends.docker.services import Services
from koi_agent.backends.docker.tracker import Tracker
from koi_agent.core.errors import BackendLost, BadInput
from koi_agent.core.instance import PortMapping
from koi_agent.host.container_groups import ContainerGroups

log = logging.getLogger(__name__)


class Inspector:
    """Inspects the containers in ``queue``, and passes the results to ``tracker``.

    ``services`` has the ports of a swarm's services. ``uninspected`` are the ids whose inspection
    failed, to be inspected after the next list. ``on_bad_record`` is called with what can't be
    parsed, and why. A container is inspected again ``retry`` seconds after the engine failed to.
    """

    def __init__(
        self,
        api: DockerAPI,
        queue: InspectQueue,
        tracker: Tracker,
        on_bad_record: Callable[[str, BadInput], None],
        *,
        services: Services,
        retry: float,
    ) -> None:
        self.uninspected: set[str] = set()
        self._api = api
        self._queue = queue
        self._tracker = tracker
        self._on_bad_record = on_bad_record
        self._retry = retry
        self._services = services
        self._groups = ContainerGroups()

    async def run(self) -> Never:
        """Inspect one container after the other. Several of these may run at a time."""
        while True:
            id_ = await self._queue.get()
            try:
                container = await self._inspect(id_)
            except (BadInput, BackendLost) as error:
                # This costs one container: an engine may hang at one and answer for all others.
                # If the engine is lost, its event stream and its lists show it.
                self._report(id_, error)
                if self._queue.finish(id_):
                    self.uninspected.add(id_)
                    self._tracker.inspection_failed(id_)
            else:
                if self._queue.finish(id_):
                    self.uninspected.discard(id_)
                    now = asyncio.get_running_loop().time()
                    self._tracker.apply_inspection(id_, container, now)

    async def _inspect(self, id_: str) -> Container | None:
        """Return the container, or None if it is gone; raise ``BadInput`` or ``BackendLost``."""
        try:
            record = await self._api.inspect_container(id_)
        except NoSuchContainer:
            return None
        container = container_from_inspection(record, self._api.engine.kind)
        ingress = await self._services.ports_of(container.labels.swarm_service)
        return self._completed(container, ingress)

    def _report(self, id_: str, error: BadInput | BackendLost) -> None:
        if isinstance(error, BadInput):
            self._on_bad_record(f"container {id_:.12}", error)
        else:
            log.debug("container %.12s: %s", id_, error)
            self._queue.put_after(self._retry, id_)

    def _completed(self, container: Container, ingress: tuple[PortMapping, ...]) -> Container:
        """Set the ports of the service and the control group.

        Docker does not name the group, and Podman may name one that is gone.
        """
        inspected = container.inspected
        if inspected is None:
            return container
        group = self._groups.find(container.id, inspected.main_pid, named=inspected.control_group)
        complete = replace(inspected, control_group=group, ingress=ingress)
        return replace(container, inspected=complete)
