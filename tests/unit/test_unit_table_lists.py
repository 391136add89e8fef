"""Changes that a unit table delivers by lists, loaded units, sockets and daemon-reloads."""

import asyncio

import pytest

from koi_agent.backends.systemd.details import CONFIRM
from koi_agent.backends.systemd.loaded_units import LOADED
from koi_agent.backends.systemd.queries import CheckLoaded, FindListeners
from koi_agent.config import SystemdConfig
from tests.unit.unit_table_harness import Harness, Item, changed, path, row, unit_new, unit_removed

RUNNING = changed("active/running", pid=100, run=b"a", restarts=0)
LISTENING = changed("active/listening", "ssh.socket")
CONNECTION = "ssh@1-10.0.0.1:22-10.0.0.2:999.service"
WEB = path("web.service")


async def running(name: str = "web.service") -> Harness:
    """Return a table with a unit whose start was delivered."""
    made = Harness()
    made.receive(*changed("active/running", name, pid=100, run=b"a", restarts=0))
    await made.answer()
    made.delivered()
    return made


async def test_loaded_unit_is_not_read_but_checked_a_little_later() -> None:
    made = Harness()
    made.receive(unit_new("web.service"), unit_removed("web.service"), unit_new("web.service"))
    assert await made.queries() == []
    await made.wait(LOADED)
    assert await made.queries() == [CheckLoaded()]


async def test_loaded_unit_that_sends_a_signal_is_not_checked() -> None:
    made = Harness()
    made.receive(unit_new("web.service"), *RUNNING)
    assert made.table.listing_started() == {}


async def test_loaded_unit_that_is_not_followed_is_not_checked() -> None:
    made = Harness()
    made.receive(unit_new("web.timer"), unit_new("systemd-x.service"))
    assert made.table.listing_started() == {}


async def test_loaded_unit_that_runs_without_a_signal_is_found() -> None:
    made = Harness()
    made.receive(unit_new("web.service"))
    made.systemd.rows = [row("web.service")]
    await made.reconciler.answer(CheckLoaded())
    assert made.delivered() == ["web active/running"]


async def test_loaded_unit_that_does_not_run_is_not_read() -> None:
    made = Harness()
    made.receive(unit_new("web.service"))
    made.systemd.rows = [row("web.service", "inactive/dead")]
    await made.reconciler.answer(CheckLoaded())
    assert made.delivered() == ["web gone"]
    assert made.systemd.read == []


async def test_loaded_unit_whose_signal_comes_before_the_list_is_not_read_for_the_list() -> None:
    made = await running()
    made.receive(*changed("inactive/dead", pid=0), unit_removed("web.service"))
    await made.settle()
    made.receive(unit_new("web.service"))
    made.systemd.read.clear()
    made.systemd.rows = [row("web.service")]
    made.systemd.meanwhile = [("units", changed("active/running", pid=7, run=b"b"))]
    await made.reconciler.answer(CheckLoaded())
    assert made.delivered() == ["web gone", "web active/running"]
    assert made.systemd.read == []


async def test_unit_that_a_list_has_read_since_it_was_unloaded_is_not_read_again() -> None:
    made = await running()
    made.receive(*changed("inactive/dead", pid=0), unit_removed("web.service"))
    await made.settle()
    made.receive(*changed("active/running", pid=7, run=b"b"))
    made.systemd.rows = [row("web.service")]
    await made.listed()
    await made.wait(CONFIRM)
    assert await made.reads() == []


async def test_unit_that_is_unloaded_while_it_runs_is_gone() -> None:
    made = await running()
    made.receive(unit_removed("web.service"))
    await made.settle()
    assert made.delivered() == ["web gone"]


async def test_unit_that_is_unloaded_by_a_daemon_reload_stays() -> None:
    made = await running()
    made.table.reload_started()
    made.receive(unit_removed("web.service"), unit_new("web.service"))
    await made.settle()
    assert made.delivered() == []
    assert made.table.listing_started() == {}
    assert await made.reads() == []


async def test_details_are_read_again_by_the_list_after_a_daemon_reload() -> None:
    made = await running()
    made.systemd.rows = [row("web.service")]
    made.systemd.read.clear()
    made.table.reload_started()
    made.table.reload_finished()
    assert await made.listed() == (["web.service"], set())
    assert set(made.systemd.read) == {WEB}


async def test_unit_that_is_not_followed_is_not_kept() -> None:
    made = Harness()
    made.receive(*changed("active/running", "web.timer"))
    assert not made.table.has_unit(path("web.timer"))
    assert await made.queries() == []


@pytest.mark.parametrize("socket", ["ssh.socket", "ssh@22.socket"])
async def test_socket_with_accept_hides_the_services_of_its_connections(socket: str) -> None:
    made = await running(CONNECTION)
    made.receive(*changed("active/listening", socket))
    made.systemd.properties[path(socket)] = {"Accept": True}
    await made.answer()
    assert made.delivered() == [f"{CONNECTION.removesuffix('.service')} gone"]
    made.receive(*changed("deactivating/stop-sigterm", CONNECTION))
    assert await made.reads() == []
    assert made.delivered() == []


async def test_service_of_a_connection_is_not_delivered_if_its_socket_is_read_first() -> None:
    made = Harness()
    made.receive(*changed("active/running", CONNECTION, pid=5, run=b"a"))
    made.receive(*LISTENING)
    made.systemd.properties[path("ssh.socket")] = {"Accept": True}
    await made.answer(last_first=True)
    await made.settle()
    assert made.delivered() == []


async def test_services_of_connections_are_hidden_while_one_of_their_sockets_accepts() -> None:
    made = Harness()
    for accepts in ({"22", "23"}, {"23"}, set()):
        made.table.reload_started()
        made.table.reload_finished()
        for port in ("22", "23"):
            name = f"ssh@{port}.socket"
            made.systemd.properties[path(name)] = {"Accept": port in accepts}
            made.receive(*changed("active/listening", name))
        await made.answer()
        made.receive(*changed("active/running", CONNECTION, pid=5, run=b"a"))
        await made.answer()
        assert made.table.has_unit(path(CONNECTION)) is (not accepts)


async def test_connections_that_outlive_their_socket_stay_hidden() -> None:
    made = Harness()
    made.receive(*LISTENING)
    made.systemd.properties[path("ssh.socket")] = {"Accept": True}
    await made.answer()
    made.receive(*changed("inactive/dead", "ssh.socket"))
    made.receive(*changed("deactivating/stop-sigterm", CONNECTION, pid=5))
    await made.answer()
    assert made.delivered() == []


async def test_ports_of_a_socket_are_those_of_its_service() -> None:
    made = await running()
    made.systemd.properties[path("web.socket")] = {
        "Accept": False,
        "Listen": [["Stream", "[::]:80"]],
        "Triggers": ["web.service"],
    }
    made.receive(*changed("active/listening", "web.socket"))
    await made.answer()
    assert [port.container_port for port in made.last["web.service"].ports] == [80]
    made.receive(*changed("inactive/dead", "web.socket"))
    assert made.last["web.service"].ports == ()


async def test_socket_that_a_list_does_not_show_has_no_ports() -> None:
    """A daemon-reload may lose the last signal of a socket."""
    made = await running()
    made.systemd.properties[path("web.socket")] = {
        "Listen": [["Stream", "[::]:80"]],
        "Triggers": ["web.service"],
    }
    made.receive(*changed("active/listening", "web.socket"))
    await made.answer()
    made.systemd.rows = [row("web.service"), row("web.socket", "inactive/dead")]
    assert await made.listed() == (["web.service"], set())
    assert made.last["web.service"].ports == ()


async def test_socket_that_is_followed_is_an_instance() -> None:
    made = Harness(SystemdConfig(units=("*.socket",)))
    made.receive(*LISTENING)
    await made.answer()
    assert made.delivered() == ["ssh.socket active/listening"]


async def test_followed_socket_that_dies_while_it_is_read_is_not_kept() -> None:
    made = Harness(SystemdConfig(units=("*.socket",)))
    made.receive(*LISTENING)
    made.receive(*changed("inactive/dead", "ssh.socket"))
    await made.answer()
    made.receive(*changed("inactive/dead", "ssh.socket"))
    await made.settle()
    assert not made.table.has_unit(path("ssh.socket"))


async def test_list_has_the_followed_units_that_run() -> None:
    made = Harness()
    made.systemd.rows = [
        row("web.service"),
        row("done.service", "active/exited"),
        row("off.service", "inactive/dead"),
        row("systemd-x.service"),
        row("web.timer", "active/waiting"),
    ]
    assert await made.listed() == (["web.service"], set())
    assert made.delivered() == []


async def test_list_reads_nothing_that_is_known() -> None:
    made = Harness()
    made.systemd.rows = [row("web.service")]
    await made.listed()
    made.systemd.read.clear()
    assert await made.listed() == (["web.service"], set())
    assert made.systemd.read == []


@pytest.mark.parametrize("when", ["units", WEB])
async def test_unit_that_stops_while_it_is_listed_is_not_listed(when: str) -> None:
    made = Harness()
    made.systemd.rows = [row("web.service"), row("other.service")]
    made.systemd.meanwhile = [(when, changed("inactive/dead", pid=0))]
    assert await made.listed() == (["other.service"], set())


async def test_unit_that_starts_while_units_are_listed_is_changing() -> None:
    made = Harness()
    made.systemd.rows = [row("other.service")]
    made.systemd.meanwhile = [(path("other.service"), RUNNING)]
    assert await made.listed() == (["other.service"], {"web.service"})
    await made.answer()
    assert made.delivered() == ["web active/running"]


async def test_unit_whose_stop_is_not_confirmed_is_changing() -> None:
    made = await running()
    made.receive(*changed("inactive/dead", pid=0))
    assert await made.listed() == ([], {"web.service"})
    await made.settle()
    assert made.delivered() == ["web gone"]


async def test_stop_without_a_signal_is_seen_in_the_list() -> None:
    made = await running()
    assert await made.listed() == ([], set())
    assert made.delivered() == []
    assert not made.table.has_unit(WEB)


async def test_unit_that_was_loaded_before_the_list_is_not_changing() -> None:
    made = Harness()
    made.receive(unit_new("web.service"))
    assert await made.listed() == ([], set())


async def test_unit_that_is_loaded_while_it_is_listed_and_does_not_run_is_gone() -> None:
    """The registry may have it from before a loss, and no signal will come."""
    made = Harness()
    made.systemd.rows = [row("other.service")]
    made.systemd.meanwhile = [(path("other.service"), [unit_new("web.service")])]
    _, changing = await made.listed()
    assert changing == {"web.service"}
    made.systemd.rows = []
    await made.reconciler.answer(CheckLoaded())
    assert made.delivered() == ["web gone"]


@pytest.mark.parametrize(
    "signals",
    [[unit_removed("web.service")], changed("inactive/dead", pid=0)],
    ids=["unloaded", "dead"],
)
async def test_unit_that_is_loaded_while_it_is_listed_and_ends_before_its_check_is_gone(
    signals: list[Item],
) -> None:
    """The registry may have it from before a loss."""
    made = Harness()
    made.systemd.meanwhile = [("units", [unit_new("web.service")])]
    assert await made.listed() == ([], {"web.service"})
    made.receive(*signals)
    await made.answer()
    assert made.delivered() == ["web gone"]


async def test_reason_of_an_end_is_that_of_the_unit_that_started_while_it_was_listed() -> None:
    made = Harness()
    made.systemd.meanwhile = [("units", [unit_new("web.service")])]
    await made.listed()
    made.receive(*RUNNING)
    await made.answer()
    made.receive(*changed("failed/failed", pid=0), unit_removed("web.service"))
    await made.answer()
    assert made.delivered() == ["web active/running", "web gone"]
    assert made.reasons == ["inactive"]


async def test_listeners_are_looked_for_a_moment_after_a_list_has_found_a_unit() -> None:
    made = Harness()
    made.systemd.rows = [row("web.service")]
    await made.listed()
    async with asyncio.timeout(60):  # the next reading comes later if the list's took long
        while not (queries := await made.queries()):
            await made.wait(0.1)
    assert queries == [FindListeners()]
