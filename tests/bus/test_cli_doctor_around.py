"""What the doctor finds around the agent: HTTP, configuration, unit, policy, polkit."""

import asyncio
from pathlib import Path

import pytest

from koi_agent.bus.interfaces import Method, interface
from koi_agent.cli.doctor import examination, findings, installation
from koi_agent.core.dbus_names import NAME
from tests.bus.clients import agent
from tests.bus.far_ends import Behaviour, far_end, silence
from tests.bus.patients import Place, be_impatient, systemd
from tests.bus.tables import playing
from tests.world.bus import PrivateBus


@pytest.fixture
def place(bus: PrivateBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus.address)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    monkeypatch.setattr(findings, "distributions", lambda: ["debian"])
    monkeypatch.setattr(findings, "is_virtual", lambda: True)
    return Place(bus, tmp_path)


async def reply(place: Place, text: bytes, *, serving: bool = True) -> tuple[str, str, str]:
    """Examine where HTTP answers this."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"GET /healthz HTTP/1.1\r\n")
        writer.write(text)
        await writer.drain()

    return await answered(place, behave, serving=serving)


async def answered(
    place: Place, behave: Behaviour, *, serving: bool = True
) -> tuple[str, str, str]:
    folder = place.folder / "koi-runtime"
    folder.mkdir()
    (folder / "http.sock").symlink_to(folder / "fake")
    async with far_end(folder, behave):
        if not serving:
            return (await place.findings())["http"][0]
        async with agent(place.bus):
            return (await place.findings())["http"][0]


async def test_http_that_answers_is_fine(place: Place) -> None:
    verdict, text, _ = await reply(place, b"HTTP/1.1 200 OK\r\n\r\nok\n")
    assert (verdict, text) == ("ok", f"{place.folder}/koi-runtime/http.sock answers")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "'HTTP/1.1 503 Service Unavailable'"),
        (b"", "does not answer as HTTP does"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not answer as HTTP does"),
        (b"x" * 100_000, "does not answer as HTTP does"),
    ],
    ids=["unwell", "closed", "other", "endless"],
)
async def test_http_that_answers_otherwise_is_a_failure(
    place: Place, text: bytes, said: str
) -> None:
    verdict, found, advice = await reply(place, text)
    assert (verdict, advice) == ("fail", "journalctl --user -u koi-runtime")
    assert said in found


async def test_http_that_says_nothing_is_a_failure_in_time(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_impatient(monkeypatch)
    verdict, text, _ = await answered(place, silence)
    assert (verdict, text) == ("fail", f"no answer within {examination.PATIENCE:.0f} s")


async def test_http_of_an_agent_that_is_down_is_left_alone(place: Place) -> None:
    async def never(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        raise AssertionError("a request would have started the agent")

    verdict, text, _ = await answered(place, never, serving=False)
    assert verdict == "ok"
    assert "not asked" in text


async def test_a_missing_http_socket_is_told_with_its_unit(place: Place) -> None:
    verdict, text, advice = (await place.findings())["http"][0]
    assert (verdict, advice) == ("warn", "systemctl --user enable --now koi-runtime.socket")
    assert text == f"there is no socket {place.folder}/koi-runtime/http.sock"


async def test_a_bad_configuration_is_a_failure_that_names_the_line(place: Place) -> None:
    file = place.folder / ".config/koi-runtime/koi-runtime.conf"
    file.parent.mkdir(parents=True)
    file.write_text("[Runtime]\nResyncInterval=soon\n")
    verdict, text, advice = (await place.findings())["configuration"][0]
    assert verdict == "fail"
    assert f"{file}:2" in text
    assert "systemctl --user reload-or-restart koi-runtime" in advice


async def test_what_means_nothing_in_a_configuration_is_a_warning(place: Place) -> None:
    file = place.folder / ".config/koi-runtime/koi-runtime.conf"
    file.parent.mkdir(parents=True)
    file.write_text("[Runtime]\nFrobnicate=yes\n")
    fine, warning = (await place.findings())["configuration"]
    assert fine == ("ok", f"read from {file}", "")
    assert warning[0] == "warn"
    assert "Frobnicate" in warning[1]


async def test_the_system_bus_needs_a_policy(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "POLICIES", (str(place.folder),))
    policy = place.folder / f"{NAME}.conf"
    missing = (await place.findings("system"))["policy"]
    assert missing[0][:2] == ("fail", f"no D-Bus policy lets an agent own {NAME}")
    assert missing[0][2] == "apt install --reinstall ./koi-runtime_*.deb"
    policy.touch()
    assert (await place.findings("system"))["policy"] == [("ok", f"{policy} is installed", "")]
    assert "policy" not in await place.findings("user")


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
async def test_the_units_state_decides_what_to_do(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    active: str,
    verdict: str,
    advice: str,
) -> None:
    async with systemd(place, monkeypatch, file=file, active=active):
        ((found, _, what_next),) = (await place.findings())["service"]
    assert found == verdict
    assert what_next.endswith(advice)
    assert bool(what_next) == bool(advice)


@pytest.mark.parametrize(
    ("version", "verdict"),
    [("252.39-1~deb12u1", "ok"), ("257.8", "ok"), ("v260", "ok"), ("251.4", "warn")],
)
async def test_a_systemd_that_is_too_old_is_a_warning(
    place: Place, monkeypatch: pytest.MonkeyPatch, version: str, verdict: str
) -> None:
    async with systemd(place, monkeypatch, file="enabled", active="active", version=version):
        ((found, text, _),) = (await place.findings())["systemd"]
    assert (found, version in text) == (verdict, True)


@pytest.mark.parametrize(("known", "verdict"), [(f"{NAME}.resync", "ok"), ("org.x.y", "warn")])
async def test_polkit_that_does_not_know_our_actions_is_a_warning(
    place: Place, known: str, verdict: str
) -> None:
    action = [known, "", "", "", "", "", 0, 0, 0, {}]
    method = Method(
        name="EnumerateActions",
        handle=lambda _call, _locale: ([action],),
        takes=(("locale", "s"),),
        returns=(("actions", "a(ssssssuuua{ss})"),),
    )
    objects = {installation.AUTHORITY[1]: interface(installation.AUTHORITY[2], method)}
    async with playing(place.bus.address, installation.POLKIT, objects):
        ((found, _, _),) = (await place.findings("system"))["polkit"]
    assert found == verdict


@pytest.mark.parametrize(
    ("distributions", "command"),
    [
        (["linuxmint", "ubuntu", "debian"], "apt install --reinstall ./koi-runtime_*.deb"),
        (["arch"], "pacman -U ./koi-runtime-*.pkg.tar*"),
        (["nixos"], "make install"),
    ],
)
def test_what_is_missing_is_installed_as_the_distribution_does(
    monkeypatch: pytest.MonkeyPatch, distributions: list[str], command: str
) -> None:
    monkeypatch.setattr(findings, "distributions", lambda: distributions)
    assert findings.Case(scope="system", environment={}).reinstall == command
