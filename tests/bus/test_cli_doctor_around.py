"""The doctor's checks of HTTP, configuration, unit, policy and polkit."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from koi_agent.bus.interfaces import Method, interface
from koi_agent.cli.doctor import installation
from koi_agent.cli.doctor.findings import Case, Host
from koi_agent.core.dbus_names import NAME
from tests.bus.clients import agent
from tests.bus.doctor_setup import Setup, systemd
from tests.bus.far_ends import Behaviour, far_end, silence
from tests.bus.tables import playing
from tests.world.bus import PrivateBus


@pytest.fixture
def setup(bus: PrivateBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus.address)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    host = Host(distributions=["debian"], environment=tmp_path, policies=[tmp_path])
    return Setup(bus, tmp_path, host)


async def reply(setup: Setup, text: bytes, *, serving: bool = True) -> tuple[str, str, str]:
    """Examine while the HTTP socket answers this; return the finding of the HTTP check."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"GET /healthz HTTP/1.1\r\n")
        writer.write(text)
        await writer.drain()

    return await answered(setup, behave, serving=serving)


async def answered(
    setup: Setup, behave: Behaviour, *, serving: bool = True
) -> tuple[str, str, str]:
    folder = setup.folder / "koi-runtime"
    folder.mkdir()
    (folder / "http.sock").symlink_to(folder / "fake")
    async with far_end(folder, behave):
        if not serving:
            return (await setup.findings())["http"][0]
        async with agent(setup.bus):
            return (await setup.findings())["http"][0]


async def test_http_that_answers_is_ok(setup: Setup) -> None:
    verdict, text, _ = await reply(setup, b"HTTP/1.1 200 OK\r\n\r\nok\n")
    assert (verdict, text) == ("ok", f"{setup.folder}/koi-runtime/http.sock answers")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "'HTTP/1.1 503 Service Unavailable'"),
        (b"", "the response is not HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the response is not HTTP"),
        (b"x" * 100_000, "the response is not HTTP"),
    ],
    ids=["unavailable", "closed", "other", "endless"],
)
async def test_other_responses_of_http_are_a_failure(
    setup: Setup, text: bytes, expected: str
) -> None:
    verdict, found, advice = await reply(setup, text)
    assert (verdict, advice) == ("fail", "journalctl --user -u koi-runtime")
    assert expected in found


async def test_http_that_does_not_answer_is_a_failure_in_time(setup: Setup) -> None:
    verdict, text, _ = await answered(replace(setup, timeout=2), silence)
    assert (verdict, text) == ("fail", "no answer within 2 s")


async def test_no_request_starts_an_agent_that_does_not_run(setup: Setup) -> None:
    async def never(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        raise AssertionError("a request would have started the agent")

    verdict, text, _ = await answered(setup, never, serving=False)
    assert verdict == "ok"
    assert "no request was sent" in text


async def test_a_missing_http_socket_is_a_warning_with_its_unit(setup: Setup) -> None:
    verdict, text, advice = (await setup.findings())["http"][0]
    assert (verdict, advice) == ("warn", "systemctl --user enable --now koi-runtime.socket")
    assert text == f"{setup.folder}/koi-runtime/http.sock does not exist"


async def test_an_invalid_configuration_is_a_failure_with_its_line(setup: Setup) -> None:
    file = setup.folder / ".config/koi-runtime/koi-runtime.conf"
    file.parent.mkdir(parents=True)
    file.write_text("[Runtime]\nResyncInterval=soon\n")
    verdict, text, advice = (await setup.findings())["configuration"][0]
    assert verdict == "fail"
    assert f"{file}:2" in text
    assert "systemctl --user reload-or-restart koi-runtime" in advice


async def test_an_unknown_key_in_the_configuration_is_a_warning(setup: Setup) -> None:
    file = setup.folder / ".config/koi-runtime/koi-runtime.conf"
    file.parent.mkdir(parents=True)
    file.write_text("[Runtime]\nFrobnicate=yes\n")
    fine, warning = (await setup.findings())["configuration"]
    assert fine == ("ok", f"read from {file}", "")
    assert warning[0] == "warn"
    assert "Frobnicate" in warning[1]


async def test_the_system_bus_needs_a_policy(setup: Setup) -> None:
    policy = setup.folder / f"{NAME}.conf"
    missing = (await setup.findings("system"))["policy"]
    assert missing[0][:2] == ("fail", f"no D-Bus policy permits owning {NAME}")
    assert missing[0][2] == "apt install --reinstall ./koi-runtime_*.deb"
    policy.touch()
    assert (await setup.findings("system"))["policy"] == [("ok", f"{policy} is installed", "")]
    assert "policy" not in await setup.findings("user")


@pytest.mark.parametrize(
    ("file", "active", "verdict", "advice"),
    [
        ("", "", "fail", "koi-runtime install-units --user"),
        ("masked", "inactive", "fail", "systemctl --user unmask koi-runtime"),
        ("enabled", "failed", "fail", "systemctl --user restart koi-runtime"),
        ("enabled", "", "fail", "systemctl --user enable --now koi-runtime"),
        ("enabled", "activating", "warn", "journalctl --user -u koi-runtime"),
        ("disabled", "active", "warn", "systemctl --user enable koi-runtime"),
        ("enabled", "active", "ok", ""),
    ],
)
async def test_the_state_of_the_unit_decides_the_advice(
    setup: Setup,
    file: str,
    active: str,
    verdict: str,
    advice: str,
) -> None:
    async with systemd(setup, file=file, active=active):
        ((found, _, what_next),) = (await setup.findings())["service"]
    assert found == verdict
    assert what_next.endswith(advice)
    assert bool(what_next) == bool(advice)


@pytest.mark.parametrize(
    ("version", "verdict"),
    [("252.39-1~deb12u1", "ok"), ("257.8", "ok"), ("v260", "ok"), ("251.4", "warn")],
)
async def test_an_old_systemd_is_a_warning(setup: Setup, version: str, verdict: str) -> None:
    async with systemd(setup, file="enabled", active="active", version=version):
        ((found, text, _),) = (await setup.findings())["systemd"]
    assert (found, version in text) == (verdict, True)


@pytest.mark.parametrize(("known", "verdict"), [(f"{NAME}.resync", "ok"), ("org.x.y", "warn")])
async def test_polkit_without_the_agents_actions_is_a_warning(
    setup: Setup, known: str, verdict: str
) -> None:
    action = [known, "", "", "", "", "", 0, 0, 0, {}]
    method = Method(
        name="EnumerateActions",
        handle=lambda _call, _locale: ([action],),
        takes=(("locale", "s"),),
        returns=(("actions", "a(ssssssuuua{ss})"),),
    )
    objects = {installation.AUTHORITY[1]: interface(installation.AUTHORITY[2], method)}
    async with playing(setup.bus.address, installation.POLKIT, objects):
        ((found, _, _),) = (await setup.findings("system"))["polkit"]
    assert found == verdict


@pytest.mark.parametrize(
    ("distributions", "command"),
    [
        (["linuxmint", "ubuntu", "debian"], "apt install --reinstall ./koi-runtime_*.deb"),
        (["arch"], "pacman -U ./koi-runtime-*.pkg.tar*"),
        (["nixos"], "make install"),
    ],
)
def test_the_advice_to_install_is_that_of_the_distribution(
    distributions: list[str], command: str
) -> None:
    host = Host(distributions=distributions)
    assert Case(scope="system", environment={}, host=host).reinstall == command
