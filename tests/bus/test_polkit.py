"""Authorization, with a real bus and a fake polkit."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from koi_agent.bus import polkit
from koi_agent.bus.client import Connection, connected
from koi_agent.bus.interfaces import Call, ErrorReply, Interface, Method, interface
from koi_agent.bus.object_manager import ObjectManager
from koi_agent.bus.polkit import POLKIT
from koi_agent.bus.variants import Variant
from tests.bus.small_tree import ACTION, MANAGER, NAME, ROOT, Tree, served
from tests.world.bus import PrivateBus

NOBODY = 65534


class Polkit:
    """A polkit that gives every caller the same answer."""

    def __init__(self, *, allowed: bool, challenge: bool = False) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.managed = ObjectManager("/", self.interfaces)
        self._verdict = [allowed, challenge, {}]
        takes = "(sa{sv})", "s", "a{ss}", "u", "s"
        self._authority = interface(
            POLKIT[2],
            Method(
                name="CheckAuthorization",
                handle=self._check,
                takes=tuple(zip("sadfc", takes, strict=True)),
                returns=(("result", "(bba{ss})"),),
            ),
        )

    def interfaces(self, path: str) -> Sequence[tuple[Interface, Any]]:
        return ((self._authority, self),) if path == POLKIT[1] else ()

    def children(self, _path: str) -> None:
        return None

    def managed_paths(self) -> Sequence[str]:
        return ()

    def _check(self, _call: Call, *question: Any) -> Sequence[Any]:
        self.asked.append(question)
        return (self._verdict,)


@asynccontextmanager
async def playing(address: str, polkit: Polkit) -> AsyncIterator[None]:
    """Serve an authority on the bus under polkit's name."""
    async with served(address, polkit, name=POLKIT[0]):
        yield


async def nobody_calls(address: str, *options: str) -> str:
    """Call the guarded method as an unprivileged user; return the reply."""
    command = ["busctl", f"--address={address}", *options]
    process = await asyncio.create_subprocess_exec(
        *command,
        "call",
        NAME,
        ROOT,
        MANAGER,
        "Guarded",
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return output.decode().strip()


async def guarded(link: Connection) -> list[Any]:
    return await link.call((NAME, ROOT, MANAGER), "Guarded")


async def test_own_user_may(bus: PrivateBus) -> None:
    async with served(bus.address, Tree()), connected(bus.address) as link:
        assert await guarded(link) == [True]


async def test_others_may_not_where_no_polkit_is(open_bus: PrivateBus) -> None:
    tree = Tree()
    async with served(open_bus.address, tree):
        assert "Access denied" in await nobody_calls(open_bus.address)
    assert not tree.calls


async def test_polkit_is_asked_about_others_and_obeyed(open_bus: PrivateBus) -> None:
    tree, polkit = Tree(), Polkit(allowed=True)
    async with served(open_bus.address, tree), playing(open_bus.address, polkit):
        where = "--allow-interactive-authorization=no"
        assert await nobody_calls(open_bus.address, where) == "b true"
    ((subject, action, details, flags, cancel),) = polkit.asked
    sender = tree.calls[0].sender
    assert subject == ["system-bus-name", {"name": Variant("s", sender)}]
    assert (action, details, flags, cancel) == (ACTION, {}, 0, "")


@pytest.mark.parametrize("interactive", ["yes", "no"])
@pytest.mark.parametrize("challenge", [True, False])
async def test_refusal_says_whether_a_password_would_help(
    open_bus: PrivateBus, *, challenge: bool, interactive: str
) -> None:
    tree, polkit = Tree(), Polkit(allowed=False, challenge=challenge)
    async with served(open_bus.address, tree), playing(open_bus.address, polkit):
        said = await nobody_calls(
            open_bus.address, f"--allow-interactive-authorization={interactive}"
        )
    assert [asked[3] for asked in polkit.asked] == [interactive == "yes"], said
    helps = challenge and interactive == "no"
    # busctl has words of its own for AccessDenied only.
    assert said.endswith("not authorized" if helps else "Access denied")
    assert not tree.calls


async def test_caller_that_is_gone_is_refused(bus: PrivateBus) -> None:
    tree = Tree()
    async with served(bus.address, tree) as ours, connected(bus.address) as link:
        gone = Call(ours, ROOT, ":1.999", 0, interactive=False)
        with pytest.raises(ErrorReply, match="does not report the uid"):
            await polkit.check(gone, ACTION)
        assert await guarded(link) == [True]
