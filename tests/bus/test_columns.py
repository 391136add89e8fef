"""GetColumns: the values of all instances, one array for each property."""

from dataclasses import replace
from typing import Any

import pytest

from koi_agent.bus.client import CallError, Connection, connected
from koi_agent.core.dbus_names import INSTANCE, MANAGER, NAME, ROOT
from koi_agent.core.instance import Instance, InstanceState, RecordState, RecordStatus
from koi_agent.publishers.dbus.columns import COLUMNS
from koi_agent.publishers.dbus.interfaces import INSTANCE_INTERFACE
from tests.bus.clients import SHOP, WEB, agent
from tests.world.bus import PrivateBus

ANNOUNCED = replace(
    WEB,
    announcements=(
        RecordStatus(name="web.local", state=RecordState.ANNOUNCED),
        RecordStatus(name="web._http._tcp.local", state=RecordState.WANTED),
    ),
)


async def get_columns(link: Connection, *names: str) -> dict[str, Any]:
    (columns,) = await link.call((NAME, ROOT, MANAGER), "GetColumns", "as", (list(names),))
    assert list(columns) == list(dict.fromkeys(names))
    return dict(columns)


@pytest.mark.parametrize("instances", [(), (WEB,), (SHOP, WEB)], ids=len)
async def test_columns_of_properties_have_the_values_of_all_objects(
    instances: tuple[Instance, ...], bus: PrivateBus
) -> None:
    async with agent(bus, *instances), connected(bus.address) as link:
        names = [name for name in COLUMNS if name in INSTANCE_INTERFACE.properties]
        assert {"Id", "State", "Aliases", "MainPID", "InvocationID", "LinkedTo"} <= set(names)
        columns = await get_columns(link, *names)
        manager = (NAME, ROOT, "org.freedesktop.DBus.ObjectManager")
        (objects,) = await link.call(manager, "GetManagedObjects")
        expected = [
            {name: one[INSTANCE][name] for name in names}
            for one in objects.values()
            if INSTANCE in one
        ]
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        assert len(rows) == len(expected) == len(instances)
        assert sorted(rows, key=str) == sorted(expected, key=str)


async def test_short_columns_have_ports_and_the_names_that_are_announced(bus: PrivateBus) -> None:
    async with agent(bus, SHOP, ANNOUNCED) as running, connected(bus.address) as link:
        columns = await get_columns(link, "Name", "ShortPorts", "Announced", "Name")
        rows = sorted(zip(*columns.values(), strict=True))
        assert rows == [
            ("shop", [[8080, 80, "tcp"]], []),
            ("web", [[80, 80, "tcp"]], ["web.local"]),
        ]
        running.remove(SHOP, "stopped")
        assert await get_columns(link, "Name") == {"Name": ["web"]}


async def test_kept_reply_follows_every_change_and_the_names(bus: PrivateBus) -> None:
    async with agent(bus, WEB) as running, connected(bus.address) as link:
        for _ in range(2):
            assert await get_columns(link, "State") == {"State": ["running"]}
        running.update(WEB, state=InstanceState.PAUSED)
        assert await get_columns(link, "State") == {"State": ["paused"]}
        assert await get_columns(link, "Name") == {"Name": ["web"]}
        assert await get_columns(link) == {}


async def test_column_that_is_not_known_is_refused_with_all_that_are(bus: PrivateBus) -> None:
    async with agent(bus, WEB), connected(bus.address) as link:
        with pytest.raises(CallError, match="unknown column: 'Colour'") as caught:
            await get_columns(link, "Name", "Colour")
        assert caught.value.name == "org.freedesktop.DBus.Error.InvalidArgs"
        assert str(caught.value).endswith(", ".join(COLUMNS))
