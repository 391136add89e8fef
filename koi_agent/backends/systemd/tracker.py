"""From signals to changes: what is known of each unit that runs, and what is said of it.

Synchronous throughout. What must be asked goes to ``ask``, what must wait to ``wake``; a dead
unit counts as gone only after a moment without news, since systemd passes through death when
it restarts a unit.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from koi_agent.backends.systemd.details import Files
from koi_agent.backends.systemd.freezer import Freezer
from koi_agent.backends.systemd.listeners import unit_ports
from koi_agent.backends.systemd.sockets import Sockets
from koi_agent.backends.systemd.units import ACTIVE, BACKEND, Details, Patterns, Unit, unit_name
from koi_agent.bus.signals import Changed, Signal
from koi_agent.config import SystemdConfig
from koi_agent.core.contracts import Deliver
from koi_agent.core.events import Gone, Seen
from koi_agent.core.instance import Instance
from koi_agent.host.listener_schedule import ListenerSchedule
from koi_agent.host.listeners import ListenersByOwner, ephemeral_ports
from koi_agent.host.sock_diag import Listener

SETTLE = 0.023
"""Seconds a unit must stay dead: the longest pause of the bus's reader and the read after it."""
CONFIRM = 1.0
"""Seconds a unit that was unloaded must run again for its files to be asked after: until then
what was known of it stands, if its files are as they were."""
MOMENT = 0.1
"""Seconds ago that a run, of which only the end was seen, may have begun and be news: signals
of one read are believed by their last word, and a short run may begin and end within."""
LIVES_KEPT = 4096
"""Runs remembered as ended, so that none is told of twice."""
LOADED = 0.2
"""Seconds after UnitNew within which a unit that changed says so by itself."""


class Tracker:
    """The units of one manager that run, by object path.

    ``ask`` is called with a unit or the name and path of a socket whose properties are wanted,
    ``wake`` with the seconds after which ``settle`` wants to be called, ``on_signal`` with the
    manager's own signals.
    """

    def __init__(
        self,
        config: SystemdConfig,
        deliver: Deliver,
        ask: Callable[[Unit], None],
        wake: Callable[[float], None],
        on_signal: Callable[[Signal], None],
    ) -> None:
        self.units: dict[str, Unit] = {}
        self.asking: set[str] = set()
        self.loaded: dict[str, str] = {}
        self.verify_at = 0.0
        self.heard: set[str] = set()
        self.files = Files()
        self.sockets = Sockets()
        self.holders = ListenersByOwner()
        self.schedule = ListenerSchedule()
        self.freezer: Freezer | None = None
        self.reloading = False
        self._exited = config.track_exited
        self.patterns = Patterns(config, self.sockets.accepting)
        self._ephemeral = ephemeral_ports()
        self._dying: dict[str, float] = {}
        self._unconfirmed: dict[str, float] = {}
        self._begun: set[str] = set()
        self._ended: OrderedDict[bytes, None] = OrderedDict()
        self._deliver = deliver
        self._ask = ask
        self._wake = wake
        self._on_signal = on_signal

    def receive(self, items: Sequence[Signal | Changed]) -> None:
        """Take what one read of the bus brought, in order."""
        touched: dict[str, Unit] = {}
        for item in items:
            if isinstance(item, Changed):
                unit = self.units.get(item.path) or Unit(unit_name(item.path), item.path)
                self.units[item.path] = touched[item.path] = unit
                unit.note(item.values)
                self.loaded.pop(item.path, None)
            else:
                self._take(item)
        self.heard.update(touched)
        for unit in touched.values():
            if self.units.get(unit.path) is unit:  # else it was unloaded and judged already
                self.judge(unit)

    def _take(self, signal: Signal) -> None:
        match signal.member, signal.body:
            case "UnitNew", [str(name), str(path)]:
                if not self.reloading and path not in self.units and self.patterns.match(name):
                    self.verify_at = self.verify_at if self.loaded else time.monotonic() + LOADED
                    self.loaded[path] = name
                    self._wake(LOADED)
            case "UnitRemoved", [str(name), str(path)]:
                if not self.reloading:
                    self._unload(name, path)
            case _:
                self._on_signal(signal)

    def _unload(self, name: str, path: str) -> None:
        self.loaded.pop(path, None)
        self.files.unloaded(name)
        if unit := self.units.get(path):
            unit.note({"ActiveState": "inactive", "SubState": "dead", "MainPID": 0})
            self.judge(unit)

    def judge(self, unit: Unit) -> None:
        """Act on what is known of a unit now."""
        if unit.name.endswith(".socket"):
            self._judge_socket(unit)
        if not self.patterns.match(unit.name):
            self.units.pop(unit.path, None)
        elif unit.runs(track_exited=self._exited):
            self._dying.pop(unit.path, None)
            details = self.files.get(unit.name)
            if details:
                self.tell(unit, details)
            if details is None or unit.wants_group(details):
                self.want(unit)
        else:
            self._judge_dead(unit)

    def _judge_dead(self, unit: Unit) -> None:
        if unit.told and self._dies_at_once(unit):
            self.bury(unit)
        elif unit.main_pid and unit.sub == "dead" and unit.told:
            self._dying.pop(unit.path, None)  # 252 says so of one that it has just started
        elif unit.told or (unit.path in self.asking and unit.invocation not in self._ended):
            self._dying.setdefault(unit.path, time.monotonic() + SETTLE)
            self._wake(SETTLE)
        else:
            self.forget(unit)
            if self._lived(unit):
                self._tell_life(unit)

    def _lived(self, unit: Unit) -> bool:
        """Tell whether a dead unit had a run, just now, of which nothing was told."""
        recent = time.monotonic() - unit.began < MOMENT
        return recent and bool(unit.invocation) and unit.invocation not in self._ended

    def _tell_life(self, unit: Unit) -> None:
        """Say that a unit ran and runs no more; of a dead one nothing is asked."""
        details = self.files.get(unit.name) or Details()
        self._end(unit.invocation)
        self._deliver(Seen(unit.instance(details)))
        self._deliver(Gone(backend=BACKEND, id=unit.name, reason=unit.active))

    def _end(self, invocation: bytes) -> None:
        self._ended[invocation] = None
        if len(self._ended) > LIVES_KEPT:
            self._ended.popitem(last=False)

    def _dies_at_once(self, unit: Unit) -> bool:
        """Tell whether a dead unit can't be on its way to a restart of its own."""
        details = self.files.get(unit.name)
        return bool(details and not details.restarts and not unit.main_pid)

    def _judge_socket(self, unit: Unit) -> None:
        if unit.active not in ACTIVE:
            self.retell(self.sockets.closed(unit.name))
        elif not self.sockets.fresh(unit.name):
            self.want(unit)

    def want(self, unit: Unit) -> None:
        """Have a unit's properties asked for, once."""
        if unit.path not in self.asking:
            self.asking.add(unit.path)
            self._ask(unit)

    def answered(self, unit: Unit, details: Details) -> None:
        """Take the answer to ``want``; a unit that died meanwhile has run all the same."""
        self.asking.discard(unit.path)
        now = self.units.get(unit.path)  # it may be followed no more, or have begun anew
        if now and (now.path in self._dying or now.runs(track_exited=self._exited)):
            self.tell(now, details)
        if unit.path in self._dying:
            self._wake(SETTLE)

    def tell(self, unit: Unit, details: Details) -> None:
        """Say what a unit is now, where that is news."""
        instance = self.instance(unit, details)
        if unit.restarted() and unit.told:
            self._end(unit.told.invocation_id)
            self._deliver(Gone(backend=BACKEND, id=unit.name, reason="restarted"))
            unit.told = None
        told, news = unit.told, instance != unit.told
        unit.say(instance)
        if news:
            self._deliver(Seen(instance))
        if told is None or (told.invocation_id, told.control_group) != (
            instance.invocation_id,
            instance.control_group,
        ):
            self.begun(unit)
        if told is None and not self.files.fresh(unit.name):
            self._unconfirmed[unit.path] = time.monotonic() + CONFIRM
            self._wake(CONFIRM)

    def instance(self, unit: Unit, details: Details) -> Instance:
        """Make what others see of a unit, with its ports by the last look."""
        unit.group = details.control_group
        ports = unit_ports(
            unit.name,
            self.holders.of(unit.name),
            details.metadata,
            sockets=self.sockets.ports(unit.name),
            ephemeral=self._ephemeral,
        )
        return unit.instance(details, ports)

    def begun(self, unit: Unit) -> None:
        """Have a unit that has begun to run looked after, in a moment."""
        self.schedule.started(time.monotonic())
        self._wake(ListenerSchedule.AFTER[0])
        self._begun.add(unit.path)

    def look_after(self) -> None:
        """Watch units that have begun to run and did not end at once for being frozen.

        The kernel tells of the end of each watch as well, by a wake-up of its own.
        """
        begun, self._begun = self._begun, set()
        for unit in [self.units[path] for path in begun & self.units.keys()]:
            if self.freezer and unit.told:
                self.freezer.forget(unit.path)  # each run has a control group of its own
                self.freezer.watch(unit.path, unit.told.control_group)

    def retell(self, names: Iterable[str]) -> None:
        """Say what units are now, by name."""
        wanted = set(names)
        for unit in [unit for unit in self.units.values() if unit.name in wanted]:
            if unit.told and (details := self.files.get(unit.name)):
                self.tell(unit, details)

    def absent(self, name: str) -> None:
        """Say that a unit does not run, though nobody here knows of a time when it did."""
        self._deliver(Gone(backend=BACKEND, id=name, reason="not listed"))

    def freezes(self, path: str, state: str) -> None:
        """Take a unit's FreezerState from where systemd does not send it."""
        if unit := self.units.get(path):
            unit.note({"FreezerState": state})
            self.judge(unit)

    def settle(self) -> float | None:
        """Bury what stayed dead, confirm what lives; returns the seconds until there is more."""
        now = time.monotonic()
        for path in [path for path, due in self._dying.items() if due <= now]:
            if path not in self.asking:
                del self._dying[path]
                self.bury(self.units[path])
        for path in [path for path, due in self._unconfirmed.items() if due <= now]:
            del self._unconfirmed[path]
            self.want(self.units[path])
        dying = [due for path, due in self._dying.items() if path not in self.asking]
        waiting = (*dying, *self._unconfirmed.values())
        return min(waiting) - now if waiting else None

    def bury(self, unit: Unit) -> None:
        """Say that a unit runs no more, and forget it."""
        told = unit.told
        self.forget(unit)
        if told:
            self._end(unit.invocation)
            self._deliver(Gone(backend=BACKEND, id=unit.name, reason=unit.active))

    def forget(self, unit: Unit) -> None:
        """Forget a unit, and say nothing."""
        unit.told = None
        self.units.pop(unit.path, None)
        self._dying.pop(unit.path, None)
        self._unconfirmed.pop(unit.path, None)
        if self.freezer:
            self.freezer.forget(unit.path)

    def in_doubt(self) -> set[str]:
        """Name the units of which events will say more than a list can."""
        paths = self.asking | self._dying.keys() | (self.heard & self.units.keys())
        return {unit_name(path) for path in paths} | set(self.loaded.values())

    def close(self) -> None:
        """Say nothing any more: the session is over."""
        self._deliver = lambda _change: None
        if self.freezer:
            self.freezer.close()

    def listening(self, seen: Sequence[Listener]) -> None:
        """Take who listens where, and say what is news."""
        groups = {unit.name: unit.group for unit in self.units.values()}
        self.retell(self.holders.take(seen, groups))
