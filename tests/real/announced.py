"""Units that opt in to be announced, and the status that the agent reports."""

from typing import Any

from koi_agent.bus.client import CallError
from tests.lan import Lan
from tests.real.agents import eventually, instance, on_manager
from tests.world import World

WEB = """\
[Service]
ExecStart=/usr/bin/python3 -m http.server {port} --bind ::
[X-Koi]
Enable=yes
Name={name}
Type=_http._tcp
Txt-path=/
"""


def settings(world: World, text: str) -> None:
    """Write the agent's configuration; it is read at a start or a reload."""
    folder = world.home / ".config/koi-runtime"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "koi-runtime.conf").write_text(text)


async def web(
    world: World, name: str = "web", port: int = 8080, text: str = WEB, more: str = ""
) -> None:
    """Start a unit that serves HTTP; ``more`` is added to its metadata."""
    world.unit(f"{name}.service", text.format(name=name, port=port) + more)
    await on_manager(world, "start", f"{name}.service")


async def announcements(world: World, name: str = "web") -> dict[str, str]:
    """Return the status of each record of a unit, by name."""
    try:
        known: list[dict[str, Any]] = (await instance(world, f"{name}.service"))["Announcements"]
    except CallError:  # the agent does not know it yet
        return {}
    return {one["name"]: one["status"] for one in known}


async def announced(world: World, name: str = "web", *, seconds: float = 60.0) -> dict[str, str]:
    async def all_are() -> dict[str, str]:
        known = await announcements(world, name)
        return known if known and set(known.values()) == {"announced"} else {}

    try:
        return dict(await eventually(all_are, f"{name} is announced", seconds=seconds))
    except AssertionError as error:
        raise AssertionError(f"{await announcements(world, name)}") from error


async def resolves(lan: Lan, name: str, address: str, *options: str) -> None:
    """Wait until a peer resolves a host name to an address."""
    await eventually(
        lambda: lan.peer.resolve(name, *options) == address, f"the peer resolves {name}: {address}"
    )


async def finds(lan: Lan, type_: str, *services: tuple[str, int]) -> None:
    """Wait until a peer finds exactly these services of a type, by name and port."""
    await eventually(
        lambda: {(one.name, one.port) for one in lan.peer.browse(type_)} == set(services),
        f"the peer finds {services}",
    )


async def waits(world: World) -> bool:
    return set((await announcements(world)).values()) == {"wanted"}
