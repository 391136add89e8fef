"""The doctor's check of the outlets of DNS names."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from koi_agent.bus.interfaces import Emits, Property, interface
from koi_agent.cli.async_client import bus as client
from koi_agent.cli.doctor.findings import DRIVER, Bus, Case, Finding, Host, Verdict
from koi_agent.cli.doctor.hook import JOURNAL, RETRY, hook
from koi_agent.host.resolver import RESOLVED
from tests.bus.doctor_setup import Setup, systemd
from tests.bus.host_names import resolved
from tests.bus.tables import playing
from tests.ports import free_port
from tests.unit.webhook_provider import Answer, Provider, served
from tests.world.bus import PrivateBus

LINK = "koi-runtime-dns-link.service"
FINDS = "this host finds names by static records of systemd-resolved"


@pytest.fixture
def setup(bus: PrivateBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    """A host without systemd-resolved, whose programs ask another server."""
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus.address)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    (tmp_path / "resolv.conf").write_text("nameserver 192.0.2.53\n")
    host = Host(
        libraries=tmp_path / "lib",
        resolver=tmp_path / "resolv.conf",
        name_services=tmp_path / "nsswitch.conf",
    )
    return Setup(bus, tmp_path, host)


def install(setup: Setup, version: int) -> None:
    folder = setup.folder / "lib/systemd"
    folder.mkdir(parents=True)
    (folder / "systemd-resolved").touch()
    (folder / f"libsystemd-shared-{version}.so").touch()


def configure(setup: Setup, text: str) -> None:
    file = setup.folder / ".config/koi-runtime/koi-runtime.conf"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


async def static(setup: Setup) -> tuple[str, str, str]:
    (found,) = (await setup.findings("system"))["dns"]
    return found


async def test_a_host_without_static_records_is_told_what_it_lacks(setup: Setup) -> None:
    verdict, text, _ = await static(setup)
    assert verdict == "ok"
    assert "261 or later is needed, and it is not installed" in text
    install(setup, 257)
    assert "version 257 is installed" in (await static(setup))[1]


async def test_static_records_need_a_systemd_resolved_that_runs_and_is_asked(setup: Setup) -> None:
    install(setup, 262)
    assert "not running" in (await static(setup))[1]
    async with playing(setup.bus.address, RESOLVED, resolved()):
        assert "do not ask systemd-resolved" in (await static(setup))[1]
        (setup.folder / "nsswitch.conf").write_text("hosts: files resolve [!UNAVAIL=return] dns\n")
        assert (await static(setup))[1] == FINDS
        (setup.folder / "nsswitch.conf").unlink()
        (setup.folder / "resolv.conf").write_text("options edns0\nnameserver 127.0.0.53\n")
        assert (await static(setup))[1] == FINDS


async def test_static_records_that_are_configured_and_impossible_are_a_problem(
    setup: Setup,
) -> None:
    configure(setup, "[Capabilities]\nDNS=static\n")
    ((verdict, text, _),) = (await setup.findings())["dns"]
    assert (verdict, "only the system's agent" in text) == ("warn", True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no outlet is configured"),
        ("[Capabilities]\nDNS=off\n", "turned off by [Capabilities] DNS="),
    ],
)
async def test_without_outlets_nothing_is_wrong(setup: Setup, text: str, expected: str) -> None:
    configure(setup, text)
    assert (await setup.findings())["dns"] == [("ok", expected, "")]


async def test_a_hook_that_is_configured_and_impossible_is_a_problem(setup: Setup) -> None:
    configure(setup, "[Capabilities]\nDNS=hook\n")
    ((verdict, text, _),) = (await setup.findings())["dns"]
    assert (verdict, "only the system's agent has a hook" in text) == ("warn", True)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (
            {"file": "disabled", "active": "inactive"},
            (
                "warn",
                "this host finds no names: koi-runtime-hook.socket is not active",
                "systemctl enable --now koi-runtime-hook.socket",
            ),
        ),
        (
            {"file": "disabled", "active": "active"},
            (
                "warn",
                "koi-runtime-hook.socket is not enabled; it is not active after a boot",
                "systemctl enable --now koi-runtime-hook.socket",
            ),
        ),
        (
            {"file": "enabled", "active": "failed"},
            (
                "warn",
                f"this host finds no names: koi-runtime-hook.socket has failed; see {JOURNAL}",
                RETRY,
            ),
        ),
        (
            {"file": "enabled", "active": "active", "service": "inactive"},
            (
                "warn",
                "this host finds no names: koi-runtime-hook.service is not active",
                "systemctl start koi-runtime-hook.service",
            ),
        ),
        (
            {"file": "enabled", "active": "active"},
            ("ok", "this host finds names by the hook of systemd-resolved", ""),
        ),
    ],
)
async def test_the_hook_needs_its_socket_and_its_service(
    setup: Setup, states: dict[str, str], expected: tuple[str, str, str]
) -> None:
    install(setup, 259)
    (setup.folder / "resolv.conf").write_text("nameserver 127.0.0.53\n")
    others = {"koi-runtime-hook.service": states.pop("service", "active")}
    async with systemd(setup, unit_name="koi-runtime-hook.socket", others=others, **states):
        assert "systemd-resolved is not running" in (await hook_finding(setup)).text
        async with playing(setup.bus.address, RESOLVED, resolved()):
            found = await hook_finding(setup)
            assert (str(found.verdict), found.text, found.advice) == expected
            (setup.folder / "resolv.conf").unlink()
            assert (await hook_finding(setup)).verdict is Verdict.WARNING


async def hook_finding(setup: Setup) -> Finding:
    """Check the hook of the system's agent, whose configuration is not read here."""
    case = Case(scope="system", environment=setup.environment, host=setup.host)
    async with client("system") as link:
        (names,) = await link.call(DRIVER, "ListNames")
        reached = Bus(link=link, owner="", names=frozenset(names), activatable=frozenset())
        return await hook(case, reached)


async def test_a_directory_must_be_there(setup: Setup) -> None:
    path = setup.folder / "hosts"
    configure(setup, f"[DNS]\nHostsDirectory={path}\n")
    ((verdict, text, advice),) = (await setup.findings())["dns"]
    assert (verdict, str(path) in text, str(path) in advice) == ("warn", True, True)
    path.mkdir()
    ((verdict, _, _),) = (await setup.findings())["dns"]
    assert verdict == "ok"


async def test_the_server_of_updates_must_answer_and_have_a_key(setup: Setup) -> None:
    port = free_port()
    configure(setup, f"[DNS]\nUpdate=127.0.0.1:{port}\nUpdateKey=peer\n")
    ((verdict, text, advice),) = (await setup.findings())["dns"]
    assert verdict == "warn"
    assert f"[DNS] Update=127.0.0.1:{port}: Connect" in text
    assert advice == f"dig +tcp @127.0.0.1 -p {port} internal SOA"
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)
    async with server:
        ((verdict, _, _),) = (await setup.findings())["dns"]
        assert verdict == "ok"
        configure(setup, f"[DNS]\nUpdate=127.0.0.1:{port}\n")
        ((verdict, text, _),) = (await setup.findings())["dns"]
    assert (verdict, "UpdateKey= is not set" in text) == ("warn", True)


@pytest.mark.parametrize(
    ("active", "expected"),
    [
        ("active", ("ok", "koi-runtime-dns.socket is open", "")),
        (
            "failed",
            (
                "warn",
                "koi-runtime-dns.socket is enabled and not open",
                "systemctl restart koi-runtime",
            ),
        ),
    ],
)
async def test_sockets_of_systemd_for_dns_must_be_open(
    setup: Setup, active: str, expected: tuple[str, str, str]
) -> None:
    async with systemd(setup, file="enabled", active=active, unit_name="koi-runtime-dns.socket"):
        assert expected in (await setup.findings("system"))["dns"]


async def test_sockets_of_systemd_that_are_not_enabled_are_no_problem(setup: Setup) -> None:
    async with systemd(
        setup, file="disabled", active="inactive", unit_name="koi-runtime-dns.socket"
    ):
        ((verdict, text, _),) = (await setup.findings("system"))["dns"]
    assert (verdict, "static records" in text) == ("ok", True)


@pytest.mark.parametrize(
    ("domains", "expected"),
    [
        ([(2, "lan", False), (3, "internal", True)], ("ok", "questions about internal")),
        ([(2, "lan", False)], ("warn", "no names in internal")),
        ([(0, "internal", True)], ("warn", "no names in internal")),  # of no link
    ],
)
async def test_a_link_must_have_all_domains(
    setup: Setup, domains: Sequence[tuple[int, str, bool]], expected: tuple[str, str]
) -> None:
    table = interface(
        f"{RESOLVED}.Manager", Property("Domains", "a(isb)", Emits.FALSE, lambda _: domains)
    )
    async with (
        systemd(setup, file="enabled", active="active", unit_name=LINK),
        playing(setup.bus.address, RESOLVED, {"/org/freedesktop/resolve1": table}),
    ):
        (verdict, text, advice), *_ = (await setup.findings("system"))["dns"]
    assert (verdict, expected[1] in text) == (expected[0], True)
    assert (f"systemctl edit {LINK}" in advice) is (verdict == "warn")


async def test_a_link_needs_a_systemd_resolved_that_answers(setup: Setup) -> None:
    async with systemd(setup, file="enabled", active="active", unit_name=LINK):
        (verdict, _, advice), *_ = (await setup.findings("system"))["dns"]
    assert (verdict, advice) == ("warn", "systemctl enable --now systemd-resolved")


async def test_a_host_that_can_have_a_link_is_told_so(setup: Setup) -> None:
    install(setup, 257)
    assert f"use [DNS] Listen=5354 with {LINK}" in (await static(setup))[1]


async def test_a_webhook_must_negotiate(setup: Setup) -> None:
    port = free_port()
    configure(setup, f"[DNS]\nWebhook=http://127.0.0.1:{port}\n")
    ((verdict, text, advice),) = (await setup.findings())["dns"]
    assert verdict == "warn"
    assert f"[DNS] Webhook=http://127.0.0.1:{port}: Connect" in text
    assert advice.startswith("curl -i -H 'Accept: application/external.dns.webhook+json;version=1'")
    provider = Provider()
    async with served(provider, port):
        ((verdict, text, _),) = (await setup.findings())["dns"]
        assert (verdict, text) == ("ok", f"[DNS] Webhook=http://127.0.0.1:{port} negotiates")
        for answer, reason in ((Answer(503), "responds 503"), (Answer(200), "not a webhook")):
            provider.answers["GET", "/"] = [answer]
            ((verdict, text, _),) = (await setup.findings())["dns"]
            assert (verdict, reason in text) == ("warn", True)


async def test_a_webhook_on_another_host_must_be_encrypted(setup: Setup) -> None:
    port = free_port()
    configure(setup, f"[DNS]\nWebhook=http://0.0.0.0:{port}\n")  # not a loopback address
    async with served(Provider(), port):
        found = (await setup.findings())["dns"]
    assert [verdict for verdict, _, _ in found] == ["ok", "warn"]
    assert "not encrypted" in found[1][1]
