"""The doctor's check of a Koi daemon."""

import os
import time
from pathlib import Path

import pytest

from koi_agent.cli.async_client import bus as client
from koi_agent.cli.doctor import koi as doctor
from koi_agent.cli.doctor.findings import Bus, Verdict
from koi_agent.cli.doctor.units import SYSTEMD
from koi_agent.host.koi_daemon.credential import HANDED_OVER, Source
from tests.bus.doctor_setup import Setup, systemd
from tests.unit.fake_koi import FakeKoi
from tests.unit.fake_koi_server import served
from tests.unit.fake_koi_wire import Answer
from tests.world.bus import PrivateBus

HAND_OVER = "systemctl enable --now koi-runtime-koi.path"


@pytest.fixture
def setup(bus: PrivateBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus.address)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return Setup(bus, tmp_path)


def configure(setup: Setup, text: str) -> None:
    file = setup.folder / ".config/koi-runtime/koi-runtime.conf"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


async def koi(setup: Setup) -> tuple[str, str, str]:
    (found,) = (await setup.findings())["koi"]
    return found


async def test_a_host_without_a_daemon_has_nothing_to_check(setup: Setup) -> None:
    assert await koi(setup) == ("ok", "no Koi daemon is configured", "")


@pytest.mark.parametrize("word", ["MDNS=koi", "DNS=hosts koi", "Proxy=koi", "Health=koi"])
async def test_the_word_needs_a_breadcrumb(setup: Setup, tmp_path: Path, word: str) -> None:
    configure(setup, f"[Capabilities]\n{word}\n")
    verdict, text, advice = await koi(setup)
    assert (verdict, advice) == ("warn", "koi --daemon")
    assert text == f"Koi daemon: {tmp_path}/koi.endpoint: No such file or directory"


async def test_the_daemon_must_answer_and_accept_the_token(setup: Setup, tmp_path: Path) -> None:
    configure(setup, "[Capabilities]\nDNS=koi\n")
    async with served(FakeKoi(time.monotonic), tmp_path) as server:
        answers = f"the Koi daemon at {server.url} answers, and accepts the token"
        assert await koi(setup) == ("ok", answers, "")
        server.breadcrumb.write_text(f"{server.url}\ndat:other\n")
        verdict, text, advice = await koi(setup)
        assert (verdict, text) == ("warn", "Koi daemon: it has started again, or refuses the token")
        assert advice == "koi --daemon"
        await server.kill()
        verdict, text, advice = await koi(setup)
        assert (verdict, text) == ("warn", f"Koi daemon: nothing listens at {server.url}")
        assert advice == "koi status"


async def test_the_token_of_an_endpoint_is_in_a_file(setup: Setup, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    async with served(FakeKoi(time.monotonic), tmp_path / "run") as server:
        configure(setup, f"[Koi]\nEndpoint={server.url}\nTokenFile={tmp_path}/token\n")
        shown = f"[Koi] Endpoint={server.url}"
        verdict, text, advice = await koi(setup)
        assert (verdict, advice) == ("warn", f"koi token write {tmp_path}/token")
        assert text == f"{shown}: {tmp_path}/token: No such file or directory"
        (tmp_path / "token").write_text(f"{server.daemon.token}\n")
        assert (await koi(setup))[0] == "ok"
        (tmp_path / "token").write_text("a b")
        assert (await koi(setup))[0] == "warn"


async def test_another_program_at_the_endpoint_is_found(setup: Setup, tmp_path: Path) -> None:
    configure(setup, "[Capabilities]\nDNS=koi\n")
    async with served(FakeKoi(time.monotonic), tmp_path) as server:
        server.trouble = lambda one: Answer(404) if one.path == "/healthz" else None
        verdict, text, _ = await koi(setup)
        assert verdict == "warn"
        assert text == "Koi daemon: it responds 404 at /healthz: not a Koi daemon"


@pytest.mark.parametrize(
    ("file", "is_there", "advice"),
    [
        ("disabled", True, HAND_OVER),
        ("disabled", False, HAND_OVER),
        ("enabled", True, HAND_OVER),
        ("enabled", False, "systemctl start koi"),
    ],
)
async def test_the_hand_over_is_enabled_before_the_daemon_is_started(
    setup: Setup, file: str, advice: str, *, is_there: bool
) -> None:
    (setup.folder / "run").mkdir()
    if is_there:
        (setup.folder / "run/koi.endpoint").touch()
    async with (
        systemd(setup, unit_name=doctor.PATH_UNIT, file=file, active=""),
        client("system") as link,
    ):
        reached = Bus(link=link, owner="", names=frozenset({SYSTEMD}), activatable=frozenset())
        source = Source(breadcrumb=HANDED_OVER)
        assert await doctor.advice_for(source, reached, setup.folder) == advice


async def test_a_token_that_only_root_may_read_is_no_problem_of_the_daemon(setup: Setup) -> None:
    token = setup.folder / "token"
    token.touch(mode=0o000)
    given = {"endpoint": "http://127.0.0.1:1", "token_file": str(token)}
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        of_system = await doctor.checked(Source(breadcrumb=HANDED_OVER, **given), "advice")
        of_user = await doctor.checked(Source(breadcrumb="", **given), "advice")
    finally:
        if is_root:
            os.seteuid(0)
    assert of_system.verdict is Verdict.OK
    assert "run this as root" in of_system.text
    assert (of_user.verdict, of_user.advice) == (Verdict.WARNING, "advice")
    assert "Permission denied" in of_user.text
