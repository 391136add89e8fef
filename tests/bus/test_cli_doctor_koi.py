"""The doctor's check of a Koi daemon."""

import time
from pathlib import Path

import pytest

from tests.bus.doctor_setup import Setup
from tests.unit.fake_koi import FakeKoi
from tests.unit.fake_koi_server import served
from tests.unit.fake_koi_wire import Answer
from tests.world.bus import PrivateBus


@pytest.fixture
def setup(bus: PrivateBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus.address)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return Setup(bus, tmp_path)


def configure(setup: Setup, text: str) -> None:
    file = setup.folder / ".config/koi-runtime/koi-runtime.conf"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


async def koi(setup: Setup, scope: str = "user") -> tuple[str, str, str]:
    (found,) = (await setup.findings(scope))["koi"]
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
