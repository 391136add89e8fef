"""A Koi daemon is used where the configuration names one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from koi_agent.capabilities import capabilities
from koi_agent.capabilities.health.kept import Checks
from koi_agent.capabilities.health.provider import Prober
from koi_agent.capabilities.mdns.failover import Failover
from koi_agent.core.contracts import AlwaysOpen
from koi_agent.host.koi_daemon.preferred import Preferred
from tests.unit.home import Home

ENDPOINT = "[Koi]\nEndpoint=http://localhost:5641/\n"


def nothing(_change: object) -> None:
    pass


def providers(folder: Path, text: str) -> Mapping[str, Any]:
    """Return all providers by the name of their feed."""
    home = Home(folder)
    home.write(text)
    config = home.load().config
    found: dict[str, Any] = {}
    for one in capabilities():
        found |= one.providers(config, nothing)
    return found


def used(folder: Path, text: str) -> set[str]:
    """Return the feeds whose provider is a Koi daemon."""
    found = providers(folder, text)
    return {
        name for name, one in found.items() if "koi" in name or isinstance(one, Preferred | Checks)
    }


@pytest.mark.parametrize(
    ("text", "feeds"),
    [
        ("", set()),
        ("[Koi]\nTokenFile=/token\n", set()),
        ("[Capabilities]\nMDNS=koi\n", {"mdns"}),
        ("[Capabilities]\nHealth=koi\n", {"prober"}),
        ("[Capabilities]\nDNS=koi hosts\n", {"dns koi"}),
        ("[Capabilities]\nProxy=caddy koi\n", {"proxy koi"}),
        (ENDPOINT, {"mdns", "prober", "dns koi", "proxy koi"}),
        (
            f"{ENDPOINT}[Capabilities]\nMDNS=avahi\nHealth=off\nDNS=hosts\nProxy=off\n",
            set[str](),
        ),
        (f"{ENDPOINT}[Capabilities]\nMDNS=off\nDNS=off\n", {"prober", "proxy koi"}),
    ],
)
def test_the_word_or_an_endpoint_chooses_a_daemon(
    tmp_path: Path, text: str, feeds: set[str]
) -> None:
    assert used(tmp_path, text) == feeds


def test_a_daemon_is_preferred_to_what_the_host_has(tmp_path: Path) -> None:
    found = providers(tmp_path, ENDPOINT)
    assert isinstance(found["mdns"].fallback, Failover)
    assert found["mdns"].settings.endpoint == "http://127.0.0.1:5641"
    assert found["mdns"].settings.has_fallback
    assert not found["dns koi"].settings.has_fallback
    assert isinstance(providers(tmp_path, "")["prober"], Prober)


def test_equal_settings_are_equal_providers(tmp_path: Path) -> None:
    assert providers(tmp_path, ENDPOINT) == providers(tmp_path, ENDPOINT)
    other = providers(tmp_path, f"{ENDPOINT}TokenFile=/token\n")
    for name, one in providers(tmp_path, ENDPOINT).items():
        assert (other[name] == one) == (name not in ("mdns", "prober", "dns koi", "proxy koi"))


def test_a_session_is_opened_without_records_for_entries_of_an_earlier_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    found = providers(tmp_path, ENDPOINT)
    kinds = {"mdns": "mdns", "prober": "health", "dns koi": "dns", "proxy koi": "proxy"}
    for name, kind in kinds.items():
        one = found[name]
        assert not is_open(one)
        path = one.settings.intents_file(kind, {"STATE_DIRECTORY": str(tmp_path)})
        path.write_text('["x", "y"]\n')
        assert is_open(one)
        assert one.absence


def is_open(provider: object) -> bool:
    assert isinstance(provider, AlwaysOpen)
    return provider.is_always_open
