"""What the manager itself says, sockets, and lists: whom the tracker asks and believes."""

import asyncio
import time

import pytest

from koi_agent.backends.systemd.tracker import LOADED, SETTLE
from koi_agent.config import SystemdConfig
from tests.unit.desk import Desk, changed, manager, path, row, unit_new, unit_removed

RUNNING = changed("active/running", pid=100, run=b"a", restarts=0)
LISTENING = changed("active/listening", "ssh.socket")
CONNECTION = "ssh@1-10.0.0.1:22-10.0.0.2:999.service"


def running(name: str = "web.service", config: SystemdConfig | None = None) -> Desk:
    made = Desk(config)
    made.read(*changed("active/running", name, pid=100, run=b"a", restarts=0))
    made.answer()
    made.told()
    return made


def test_unit_that_was_loaded_is_asked_nothing() -> None:
    made = Desk()
    made.read(unit_new("web.service"), unit_removed("web.service"), unit_new("web.service"))
    assert made.wanted == []
    assert list(made.tracker.loaded.values()) == ["web.service"]
    assert made.wakes == [LOADED, LOADED]


def test_unit_that_was_loaded_and_speaks_needs_no_look() -> None:
    made = Desk()
    made.read(unit_new("web.service"), *RUNNING)
    assert made.tracker.loaded == {}


def test_unit_that_was_loaded_and_is_not_followed_is_not_looked_at() -> None:
    made = Desk()
    made.read(unit_new("web.timer"), unit_new("systemd-x.service"))
    assert (made.tracker.loaded, made.wakes) == ({}, [])


def test_unit_that_runs_and_never_said_so_is_found_by_a_look() -> None:
    made = Desk()
    made.read(unit_new("web.service"))
    made.answers.rows = [row("web.service")]
    asyncio.run(made.lister.verify())
    assert made.told() == ["web active/running"]


def test_look_at_a_unit_that_does_not_run_loads_nothing() -> None:
    made = Desk()
    made.read(unit_new("web.service"))
    made.answers.rows = [row("web.service", "inactive/dead")]
    asyncio.run(made.lister.verify())
    assert (made.said, made.answers.asked) == (["web gone"], [])


def test_unit_that_is_unloaded_while_it_runs_is_gone() -> None:
    made = running()
    made.read(unit_removed("web.service"))
    made.settle()
    assert made.told() == ["web gone"]


def test_unit_that_is_unloaded_by_a_reload_stays() -> None:
    made = running()
    made.tracker.reloading = True
    made.read(unit_removed("web.service"), unit_new("web.service"))
    made.settle()
    assert (made.said, made.tracker.loaded, made.wanted) == ([], {}, [])


def test_managers_own_signals_are_passed_on() -> None:
    made = Desk()
    made.read(manager("Reloading", 1))
    assert [signal.member for signal in made.own] == ["Reloading"]


def test_unit_that_is_not_followed_is_forgotten_at_once() -> None:
    made = Desk()
    made.read(*changed("active/running", "web.timer"))
    assert (made.tracker.units, made.wanted) == ({}, [])


def test_dead_unit_that_is_still_asked_after_does_not_keep_us_awake() -> None:
    made = Desk()
    made.read(*RUNNING)
    made.read(*changed("inactive/dead", pid=0))
    wish = made.settle()
    assert wish is None or wish >= SETTLE / 2


def test_socket_of_connections_hides_their_services() -> None:
    made = running(CONNECTION)
    made.read(*LISTENING)
    made.answers.values[path("ssh.socket")] = {"Accept": True}
    made.answer()
    assert made.told() == [f"{CONNECTION.removesuffix('.service')} gone"]
    made.read(*changed("deactivating/stop-sigterm", CONNECTION))
    assert (made.wanted, made.told()) == ([], [])


def test_service_of_a_connection_is_never_told_if_its_socket_is_known_before_its_files() -> None:
    made = Desk()
    made.read(*changed("active/running", CONNECTION, pid=5, run=b"a"))
    made.read(*LISTENING)
    made.answers.values[path("ssh.socket")] = {"Accept": True}
    made.wanted.reverse()
    made.answer()
    made.settle()
    assert made.told() == []


def test_connections_that_outlive_their_socket_stay_hidden() -> None:
    made = Desk()
    made.read(*LISTENING)
    made.answers.values[path("ssh.socket")] = {"Accept": True}
    made.answer()
    made.read(*changed("inactive/dead", "ssh.socket"))
    made.read(*changed("deactivating/stop-sigterm", CONNECTION, pid=5))
    made.answer()
    assert made.told() == []


def test_ports_of_a_socket_are_its_services() -> None:
    made = running()
    made.answers.values[path("web.socket")] = {
        "Accept": False,
        "Listen": [["Stream", "[::]:80"]],
        "Triggers": ["web.service"],
    }
    made.read(*changed("active/listening", "web.socket"))
    made.answer()
    assert [port.container_port for port in made.last["web.service"].ports] == [80]
    made.read(*changed("inactive/dead", "web.socket"))
    assert made.last["web.service"].ports == ()


def test_socket_that_is_followed_itself_is_told() -> None:
    made = Desk(SystemdConfig(units=("*.socket",)))
    made.read(*LISTENING)
    made.answer()
    assert made.told() == ["ssh.socket active/listening"]


def test_socket_that_is_followed_and_dies_while_it_is_asked_after_harms_nobody() -> None:
    made = Desk(SystemdConfig(units=("*.socket",)))
    made.read(*LISTENING)
    made.read(*changed("inactive/dead", "ssh.socket"))
    made.answer()
    made.read(*changed("inactive/dead", "ssh.socket"))
    made.settle()
    assert made.tracker.units == {}


def test_list_tells_what_runs_and_is_followed() -> None:
    made = Desk()
    made.answers.rows = [
        row("web.service"),
        row("done.service", "active/exited"),
        row("off.service", "inactive/dead"),
        row("systemd-x.service"),
        row("web.timer", "active/waiting"),
    ]
    assert made.listed() == (["web.service"], set())
    assert made.said == []


def test_list_asks_nothing_of_what_is_known() -> None:
    made = Desk()
    made.answers.rows = [row("web.service")]
    made.listed()
    made.answers.asked.clear()
    assert made.listed() == (["web.service"], set())
    assert made.answers.asked == []


@pytest.mark.parametrize("when", ["units", path("web.service")])
def test_unit_that_stops_while_it_is_listed_is_not_listed(when: str) -> None:
    made = Desk()
    made.answers.rows = [row("web.service"), row("other.service")]
    made.answers.meanwhile = [(when, changed("inactive/dead", pid=0))]
    assert made.listed() == (["other.service"], set())


def test_unit_that_starts_while_it_is_listed_is_in_doubt() -> None:
    made = Desk()
    made.answers.rows = [row("other.service")]
    made.answers.meanwhile = [(path("other.service"), RUNNING)]
    assert made.listed() == (["other.service"], {"web.service"})
    made.answer()
    assert made.told() == ["web active/running"]


def test_unit_whose_end_is_not_settled_is_in_doubt() -> None:
    made = running()
    made.read(*changed("inactive/dead", pid=0))
    assert made.listed() == ([], {"web.service"})
    made.settle()
    assert made.told() == ["web gone"]


def test_end_that_was_missed_is_seen_in_the_list() -> None:
    made = running()
    assert made.listed() == ([], set())
    assert (made.said, made.tracker.units) == ([], {})


def test_unit_that_was_only_loaded_before_the_list_is_not_in_doubt() -> None:
    made = Desk()
    made.read(unit_new("web.service"))
    assert made.listed() == ([], set())


def test_unit_that_was_loaded_while_it_was_listed_and_does_not_run_is_told_gone() -> None:
    """It may be tracked since before a loss: then nobody else will say so."""
    made = Desk()
    made.answers.rows = [row("other.service")]
    made.answers.meanwhile = [(path("other.service"), [unit_new("web.service")])]
    made.last["web.service"] = running().last["web.service"]
    _, doubt = made.listed()
    assert doubt == {"web.service"}
    made.answers.rows = []
    asyncio.run(made.lister.verify())
    assert made.told() == ["web gone"]


def test_unit_that_was_unloaded_is_confirmed_when_it_runs_again() -> None:
    made = running()
    made.read(*changed("inactive/dead", pid=0), unit_removed("web.service"))
    made.settle()
    made.read(*changed("active/running", pid=7, run=b"b"))
    assert made.told() == ["web gone", "web active/running"]
    assert made.wanted == []
    time.sleep(1.01)
    made.tracker.settle()
    assert [unit.name for unit in made.wanted] == ["web.service"]


@pytest.mark.parametrize("restarts", [0, 1], ids=["asked for", "automatic"])
def test_ports_of_a_unit_that_was_restarted_are_looked_for_soon(restarts: int) -> None:
    made = running()
    made.tracker.schedule.taken(time.monotonic() + 60)
    assert made.tracker.schedule.due() is None
    made.read(*changed("active/running", pid=101, run=b"b", restarts=restarts))
    assert made.tracker.schedule.due() is not None
