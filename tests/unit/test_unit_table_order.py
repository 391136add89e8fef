"""Signals, replies and lists count in the order in which they were received."""

import asyncio
from typing import Any

import pytest

from koi_agent.backends.systemd.queries import CheckLoaded
from tests.unit.unit_table_harness import Harness, changed, path, row, unit_new

WEB = path("web.service")


async def running() -> Harness:
    """Return a table with a unit whose start was delivered."""
    made = Harness()
    made.receive(*changed("active/running", pid=100, run=b"a", restarts=0))
    await made.answer()
    made.delivered()
    return made


@pytest.mark.parametrize("rows", [[], [row("web.service", "inactive/dead")]])
async def test_unit_that_was_delivered_since_the_request_is_delivered_as_gone(
    rows: list[list[Any]],
) -> None:
    """The follower ignores a list for what an event named since its request."""
    made = await running()
    made.systemd.rows = [*rows, row("other.service")]
    made.systemd.meanwhile = [(path("other.service"), [])]
    made.systemd.receive = lambda _items: made.table.freezer_state_changed(WEB, "frozen")
    listed, changing = await made.listed()
    assert (listed, changing) == (["other.service"], set())
    assert made.delivered() == ["web active/running", "web gone"]


async def test_unit_that_was_delivered_before_the_list_began_is_delivered_as_gone() -> None:
    """A list may wait for another one; events meanwhile are newer for the follower."""
    made = await running()
    made.receive(unit_new("other.service"))
    made.systemd.rows = [row("other.service")]
    async with asyncio.TaskGroup() as group:
        checking = group.create_task(made.reconciler.answer(CheckLoaded()))
        await asyncio.sleep(0)
        listing = group.create_task(made.listed())
        await asyncio.sleep(0)
        made.table.freezer_state_changed(WEB, "frozen")
        assert not checking.done()
    assert listing.result() == (["other.service"], set())
    assert made.delivered() == ["web active/running", "other active/running", "web gone"]


@pytest.mark.parametrize("accept", [True, False])
@pytest.mark.parametrize("by", ["query", "list"])
async def test_socket_that_stops_while_it_is_read_does_not_listen(by: str, *, accept: bool) -> None:
    made = await running()
    made.systemd.properties[path("web.socket")] = {
        "Accept": accept,
        "Listen": [["Stream", "[::]:80"]],
        "Triggers": ["web.service"],
    }
    stop = changed("inactive/dead", "web.socket")
    made.systemd.meanwhile = [(path("web.socket"), stop)]
    if by == "query":
        made.receive(*changed("active/listening", "web.socket"))
        await made.answer()
    else:
        made.systemd.rows = [row("web.service"), row("web.socket", "active/listening")]
        await made.listed()
    assert not made.last["web.service"].ports
    made.receive(*changed("active/listening", "web.socket"))
    await made.answer()
    ports = [port.container_port for port in made.last["web.service"].ports]
    assert ports == ([] if accept else [80])


async def test_socket_that_stops_and_listens_again_while_it_is_read_listens() -> None:
    made = await running()
    made.systemd.properties[path("web.socket")] = {
        "Listen": [["Stream", "[::]:80"]],
        "Triggers": ["web.service"],
    }
    again = [
        *changed("inactive/dead", "web.socket"),
        *changed("active/listening", "web.socket"),
    ]
    made.systemd.meanwhile = [(path("web.socket"), again)]
    made.receive(*changed("active/listening", "web.socket"))
    await made.answer()
    assert [port.container_port for port in made.last["web.service"].ports] == [80]


async def test_unit_that_is_loaded_in_the_same_read_as_a_list_is_checked() -> None:
    made = Harness()
    made.systemd.meanwhile = [("units", [unit_new("web.service")])]
    assert await made.listed() == ([], {"web.service"})
    made.systemd.rows = [row("web.service")]
    await made.reconciler.answer(CheckLoaded())
    assert made.delivered() == ["web active/running"]
