"""When the listeners of a unit are looked for."""

import math
import time

import pytest

from koi_agent.backends.systemd.deadlines import Timer
from koi_agent.backends.systemd.freezer import FreezerWatch
from koi_agent.backends.systemd.runs import Runs
from koi_agent.backends.systemd.sockets import SocketTable
from koi_agent.backends.systemd.units import Unit, UnitDetails


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
