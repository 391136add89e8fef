"""Containers whose control group is empty, and what is remembered of them."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from koi_agent.backends.docker.api import DockerAPI
from koi_agent.backends.docker.containers import Container
from koi_agent.backends.docker.inspector import Inspector
from koi_agent.backends.docker.tracker import Tracker
from koi_agent.backends.docker.tunables import Tunables
from koi_agent.backends.http_engine.inspect_queue import InspectQueue
from koi_agent.core.instance import InstanceState
from koi_agent.host.population import PopulationWatch
from tests.real.agents import eventually

WEB = "web"
GROUP = "docker/web"


class Known:
    """A tracker that only remembers which containers run."""

    def __init__(self) -> None:
        self.containers: dict[str, Any] = {}

    def known(self, id_: str) -> Any:
        return self.containers.get(id_)

    def found_dead(self, id_: str, _status: str) -> None:
        self.containers.pop(id_, None)

    def apply_inspection(self, id_: str, container: Any, _now: float) -> None:
        self.containers[id_] = container


class Scenario:
    """An inspector of one container. The engine always says that it runs."""

    def __init__(self, root: Path) -> None:
        (root / GROUP).mkdir(parents=True)
        (root / "cgroup.controllers").touch()
        self.events = root / GROUP / "cgroup.events"
        self.events.write_text("populated 1\n")
        self.tracker, self.queue = Known(), InspectQueue()
        self.inspector = Inspector(
            cast("DockerAPI", SimpleNamespace(inspect_service=None)),
            self.queue,
            cast("Tracker", self.tracker),
            lambda _subject, _bad: None,
            images=None,
            tunables=Tunables(empty_check=0.01),
        )
        self.changes = 0
        self.inspector.population = PopulationWatch(self._on_emptied, root)

    def inspect(self) -> None:
        """Apply an inspection of the container, in which it runs."""
        inspected = SimpleNamespace(control_group=GROUP, started_at="1")
        running = SimpleNamespace(
            inspected=inspected, state=InstanceState.RUNNING, status="running"
        )
        self.inspector._apply(WEB, cast("Container", running))

    def _on_emptied(self, id_: str) -> None:
        self.changes += 1
        self.inspector._on_emptied(id_)

    async def changed(self, times: int = 1) -> None:
        """Wait until the control group was found empty so many times since the start."""
        await eventually(lambda: self.changes >= times, "the control group is found empty")


async def test_a_container_that_was_found_dead_stays_dead_when_its_group_is_removed(
    tmp_path: Path,
) -> None:
    scenario = Scenario(tmp_path)
    scenario.inspect()
    assert WEB in scenario.tracker.containers
    scenario.events.write_text("populated 0\n")
    await scenario.changed()
    await eventually(lambda: WEB in scenario.queue.ids(), "it is inspected")
    scenario.inspect()
    assert WEB not in scenario.tracker.containers
    shutil.rmtree(tmp_path / "docker")
    await scenario.changed(2)
    scenario.inspect()  # the engine still lists it
    assert WEB not in scenario.tracker.containers
    scenario.inspector.population.close()


async def test_the_group_of_a_container_that_is_no_longer_known_is_forgotten(
    tmp_path: Path,
) -> None:
    scenario = Scenario(tmp_path)
    scenario.inspect()
    del scenario.tracker.containers[WEB]
    shutil.rmtree(tmp_path / "docker")
    await scenario.changed()
    assert not scenario.inspector.population.is_empty(WEB)
    scenario.inspector.population.close()
