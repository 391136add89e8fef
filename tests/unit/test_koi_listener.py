"""The user at the endpoint of a Koi daemon: no other user of this host can be taken for one."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from koi_agent.core.errors import ProviderLost
from koi_agent.host.http_client import client
from koi_agent.host.koi_daemon.credential import Source
from koi_agent.host.koi_daemon.daemon import Daemon
from koi_agent.host.koi_daemon.kinds import MDNS
from koi_agent.host.koi_daemon.presence import is_usable, reached
from koi_agent.host.sock_diag import owners
from tests.conftest import require
from tests.unit.fake_koi_server import KoiServer
from tests.unit.koi_sessions import koi

OTHER = 65534
__all__ = ["koi"]


@contextmanager
def impostor(address: str, port: int) -> Iterator[None]:
    """Listen as another user, at the port of a daemon that is gone."""
    if os.geteuid() != 0:
        require("root", "another user is needed")
    os.seteuid(OTHER)
    try:
        made = socket.create_server((address, port))
    finally:
        os.seteuid(0)
    with made:
        yield


@pytest.mark.parametrize("bound", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_the_user_of_a_listener_is_found(bound: str) -> None:
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    with socket.create_server((bound, 0), family=family) as made:
        port = made.getsockname()[1]
        found = {one for one in ("127.0.0.1", "::1") if owners(one, port)}
        assert found == ({bound} if bound.endswith("1") else found)
        assert found
        (user,) = {user for one in found for user in owners(one, port)}
        assert user == os.geteuid()
    assert not owners("127.0.0.1", port)


@pytest.mark.parametrize("bound", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("waits", [True, False])
async def test_a_listener_of_another_user_is_not_a_daemon(
    koi: KoiServer, bound: str, *, waits: bool
) -> None:
    source = Source(breadcrumb=str(koi.breadcrumb))
    assert await is_usable(source, MDNS.listing)
    await koi.kill()
    koi.close()
    with impostor(bound, koi.port):
        assert owners("127.0.0.1", koi.port) == {OTHER}
        assert not await is_usable(source, MDNS.listing)
        reason = f"the listener at {koi.url} belongs to another user, {OTHER}"
        with pytest.raises(ProviderLost, match=reason):
            async with reached(source, waits=waits):
                pass
        async with client(koi.url) as opened:
            with pytest.raises(ProviderLost, match=reason):
                await Daemon(opened, source, source.read()).check()
