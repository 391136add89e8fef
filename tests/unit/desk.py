"""The systemd backend's tracker at work: signals are put in, what it says comes out."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from koi_agent.backends.systemd.manager import MANAGER, PATH, SERVICE, UNIT, Manager
from koi_agent.backends.systemd.reconciler import Reconciler
from koi_agent.backends.systemd.tracker import SETTLE, Tracker
from koi_agent.backends.systemd.units import ROOT, Unit
from koi_agent.bus.object_paths import encode
from koi_agent.bus.signals import Changed, Signal
from koi_agent.config import SystemdConfig
from koi_agent.core.events import Gone, Seen
from koi_agent.core.instance import Instance
from koi_agent.host.listeners import ListenerTable


class Answers(Manager):
    """A manager's answers: ``rows`` of its list, properties by unit name."""

    def __init__(self) -> None:
        self.rows: list[list[Any]] = []
        self.values: dict[str, Mapping[str, Any]] = {}
        self.asked: list[str] = []
        self.meanwhile: list[tuple[str, list[Signal | Changed]]] = []
        self.desk: Desk | None = None

    async def units(self, patterns: Sequence[str]) -> list[list[Any]]:
        self._pass("units")
        return self.rows

    async def properties(self, path: str, wanted: Iterable[tuple[str, str]]) -> dict[str, Any]:
        await asyncio.sleep(0)
        self.asked.append(path)
        self._pass(path)
        known: dict[str, Any] = {"ControlGroup": path, **self.values.get(path, {})}
        return {name: known[name] for _, name in wanted if name in known}

    def _pass(self, where: str) -> None:
        """Let what happens while this is asked happen."""
        due = [items for at, items in self.meanwhile if at == where]
        self.meanwhile = [one for one in self.meanwhile if one[0] != where]
        for items in due:
            if self.desk:
                self.desk.read(*items)


class Desk:
    """A tracker and all around it; ``said`` is what it told, in brief."""

    def __init__(self, config: SystemdConfig | None = None) -> None:
        config = config or SystemdConfig()
        self.said: list[str] = []
        self.reasons: list[str] = []
        self.last: dict[str, Instance] = {}
        self.wanted: list[Unit] = []
        self.wakes: list[float] = []
        self.own: list[Signal] = []
        self.answers = Answers()
        self.answers.desk = self
        self.tracker = Tracker(
            config, self._hear, self.wanted.append, self.wakes.append, self.own.append
        )
        self.lister = Reconciler(config, self.answers, self.tracker, ListenerTable())

    def _hear(self, change: Seen | Gone) -> None:
        if isinstance(change, Seen):
            self.last[change.instance.id] = change.instance
            self.said.append(f"{change.instance.name} {change.instance.state_detail}")
        else:
            self.last.pop(change.id, None)
            self.reasons.append(change.reason)
            self.said.append(f"{change.id.removesuffix('.service')} gone")

    def read(self, *items: Signal | Changed) -> None:
        """Let one read of the bus bring this."""
        self.tracker.receive(items)

    def answer(self) -> None:
        """Answer all that is asked."""
        while self.wanted:
            unit = self.wanted.pop(0)
            if unit.name.endswith(".socket"):
                asyncio.run(self.lister.open_socket(unit.name, unit.path))
            else:
                details = asyncio.run(self.tracker.files.ask(self.answers, unit))
                self.tracker.answered(unit, details)

    def settle(self) -> float | None:
        """Let as much time pass as makes the dead gone."""
        time.sleep(SETTLE + 0.002)
        return self.tracker.settle()

    def listed(self) -> tuple[list[str], set[str]]:
        """Have the manager's units listed; returns names and those in doubt."""
        instances, doubt = asyncio.run(self.lister.list())
        return sorted(instance.id for instance in instances), doubt

    def told(self) -> list[str]:
        """Take what was said since last."""
        said, self.said = self.said, []
        return said


def path(name: str) -> str:
    return ROOT + encode(name)


def changed(  # noqa: PLR0913 - what a pair of signals can say
    states: str,
    name: str = "web.service",
    *,
    pid: int | None = None,
    run: bytes | None = None,
    restarts: int | None = None,
    freezer: str | None = None,
    began: float | None = None,
) -> list[Signal | Changed]:
    """Make the pair of signals a change of a unit sends: the service's first."""
    active, _, sub = states.partition("/")
    service = {"MainPID": pid, "NRestarts": restarts}
    unit = {
        "ActiveState": active,
        "SubState": sub,
        "InvocationID": run,
        "FreezerState": freezer,
        "InactiveExitTimestampMonotonic": None if began is None else int(began * 1e6),
    }
    return [
        Changed(path(name), interface, {k: v for k, v in values.items() if v is not None})
        for interface, values in ((SERVICE, service), (UNIT, unit))
    ]


def manager(member: str, *body: Any) -> Signal:
    return Signal(PATH, MANAGER, member, list(body))


def unit_new(name: str) -> Signal:
    return manager("UnitNew", name, path(name))


def unit_removed(name: str) -> Signal:
    return manager("UnitRemoved", name, path(name))


def row(name: str, states: str = "active/running") -> list[Any]:
    """Make a row of a manager's list."""
    active, _, sub = states.partition("/")
    return [name, "", "loaded", active, sub, "", path(name), 0, "", "/"]
