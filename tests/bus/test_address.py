"""Addresses of buses: where they come from, and how a list of them is read."""

import pytest

from koi_agent.bus.address import SocketAddress, address, socket_addresses
from koi_agent.bus.errors import BusLost
from koi_agent.core.errors import ConfigError

GUID = "0123456789abcdef0123456789abcdef"


def test_environment_comes_before_the_well_known_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "")
    assert address("system") == "unix:path=/run/dbus/system_bus_socket"
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/y")
    assert address("system") == "unix:path=/y"
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/a b")
    assert address("user") == "unix:path=/run/a%20b/bus"
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/x")
    assert address("user") == "unix:path=/x"
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    with pytest.raises(ConfigError, match="no user bus"):
        address("user")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("unix:path=/run/bus", b"/run/bus"),
        ("unix:path=/run/a%20b%2c%3B", b"/run/a b,;"),
        ("unix:path=/caf%c3%a9", "/café".encode()),
        ("unix:path=/not-utf8/%ff", b"/not-utf8/\xff"),
        ("unix:abstract=/tmp/dbus-x", b"\0/tmp/dbus-x"),
        ("unix:path=/*\\.-_", b"/*\\.-_"),
        ("unix:unknown=1,path=/x,", b"/x"),
    ],
)
def test_unix_addresses(text: str, path: bytes) -> None:
    assert socket_addresses(text) == [SocketAddress(path)]


def test_guid_is_kept_in_lower_case() -> None:
    text = f"unix:path=/x,guid={GUID.upper()}"
    assert socket_addresses(text) == [SocketAddress(b"/x", GUID)]


def test_addresses_keep_their_order_and_others_are_skipped() -> None:
    text = "tcp:host=localhost,port=1;unix:path=/a;nonsense;;unix:tmpdir=/tmp;unix:abstract=b;"
    assert [found.path for found in socket_addresses(text)] == [b"/a", b"\0b"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        (";", "it is empty"),
        ("nonsense", "names no transport"),
        ("tcp:host=localhost,port=1", "transport 'tcp' is not supported"),
        ("unix:tmpdir=/tmp", "neither path="),
        ("unix:runtime=yes", "neither path="),
        ("unix:path=", "neither path="),
        ("unix:path=/a,abstract=b", "or both"),
        ("unix:path", "not a key and an escaped value"),
        ("unix:path=/a b", "not a key and an escaped value"),
        ("unix:path=/a%2", "not a key and an escaped value"),
        ("unix:path=/a%zz", "not a key and an escaped value"),
        ("unix:path=/a%00b", "NUL"),
    ],
)
def test_error_names_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(BusLost, match=reason):
        socket_addresses(text)
