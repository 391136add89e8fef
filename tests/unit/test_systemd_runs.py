"""When the listeners of a unit are looked for."""

import math
import time

import pytest

from koi_agent.backends.systemd.deadlines import Timer
from koi_agent.backends.systemd.freezer import FreezerWatch
from koi_agent.backends.systemd.runs import ENDED_KEPT, Runs
from koi_agent.backends.systemd.sockets import SocketTable
from koi_agent.backends.systemd.units import Unit, UnitDetails


def test_run_that_ended_long_ago_is_not_new_however_many_have_ended_since() -> None:
    runs = Runs(lambda _change: None, SocketTable(), FreezerWatch(), Timer())
    units = [Unit(f"{number}.service", "") for number in range(ENDED_KEPT + 10)]
    for number, unit in enumerate(units):
        started = int(time.monotonic() * 1_000_000)
        run = {"InvocationID": b"%d" % number, "InactiveExitTimestampMonotonic": started}
        unit.update({"ActiveState": "failed", **run})
        assert runs.has_run(unit, is_read=False)
        runs.report_stop(unit, UnitDetails())
        runs.remove(unit)
    again = Unit("0.service", "")
    again.update(
        {"InvocationID": b"0", "InactiveExitTimestampMonotonic": units[0].started_at * 1e6}
    )
    assert not runs.has_run(again, is_read=False)


@pytest.mark.parametrize("restarts", [0, 1], ids=["by a job", "automatic"])
def test_listeners_of_a_unit_that_was_restarted_are_looked_for(restarts: int) -> None:
    runs = Runs(lambda _change: None, SocketTable(), FreezerWatch(), Timer())
    unit = Unit("web.service", "")
    unit.update({"ActiveState": "active", "InvocationID": b"a", "NRestarts": 0})
    runs.report(unit, UnitDetails())
    runs.listeners_found([], {}, since=time.monotonic() + 60)
    assert runs.next_due() == math.inf
    unit.update({"InvocationID": b"b", "NRestarts": restarts})
    runs.report(unit, UnitDetails())
    assert runs.next_due() < math.inf
