"""A new configuration, taken by a running agent: what it does not name is not disturbed."""

import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.real.agents import Agent, Observer, agent, call, eventually, observer, published
from tests.real.test_cli import koi_runtime
from tests.world import World

FILE = ".config/koi-runtime/koi-runtime.conf.d/10-test.conf"


@pytest.fixture
def services(world: World) -> Iterator[World]:
    for name in ("web", "other"):
        world.unit(f"{name}.service", "[Service]\nExecStart=sleep infinity\n")
    world.systemctl("start", "web.service", "other.service")
    configure(world, "")
    yield world
    (world.home / FILE).unlink()


def configure(world: World, text: str) -> None:
    path = world.home / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@asynccontextmanager
async def watched(world: World, folder: Path) -> AsyncIterator[tuple[Agent, Observer]]:
    async with agent(world, folder) as running, observer(world) as seen:
        yield running, seen


async def test_other_patterns_stop_only_what_they_leave_out(
    services: World, tmp_path: Path
) -> None:
    async with watched(services, tmp_path) as (running, seen):
        configure(services, "[Systemd]\nUnits=web.service\n")
        assert koi_runtime(services, "reload").returncode == 0
        assert set(await published(services)) == {"web.service"}
        await eventually(lambda: seen.known == {"web.service"}, "signals say the same")
        assert seen.count("InstanceStopped", "other.service") == 1
        assert seen.count("InstanceUpdated", "web.service") == 0
        assert "disconnected" not in running.log()
        configure(services, "")
        assert koi_runtime(services, "reload").returncode == 0
        await eventually(lambda: "other.service" in seen.known, "it is followed again")
        assert seen.unbalanced == []
        assert ("InstanceStopped", "web.service") not in seen.events


async def test_bad_value_refuses_the_reload_and_all_is_as_it_was(
    services: World, tmp_path: Path
) -> None:
    async with watched(services, tmp_path) as (running, seen):
        configure(services, "[Systemd]\nUnits=web.service\n[Runtime]\nResyncInterval=soon\n")
        refused = koi_runtime(services, "reload")
        assert refused.returncode == 1
        assert f"{services.home / FILE}:4: [Runtime] ResyncInterval=" in refused.stderr
        assert "other.service" in await published(services)
        assert seen.events == []
        assert f"{FILE}:4" in running.log()
        (state,) = await call_state(services)
        assert state == "running"


async def test_what_is_in_force_is_told_from_what_only_the_files_say(
    services: World, tmp_path: Path
) -> None:
    def config() -> str:
        return koi_runtime(services, "cat-config").stdout

    async def reload_finding() -> tuple[str, str]:
        """Return the doctor's finding; a busy machine may keep the agent from answering in time."""

        def answered() -> tuple[str, str] | None:
            found = json.loads(koi_runtime(services, "doctor", "--json=short").stdout)
            (one,) = [each for each in found if each["check"] == "reload"]
            late = "no answer within" in one["text"]
            return None if late else (one["verdict"], one["text"])

        verdict, text = await eventually(answered, "the agent answers the doctor")
        return verdict, text

    async with watched(services, tmp_path):
        assert "# All settings are in force.\n" in config()
        assert await reload_finding() == ("ok", "the settings of the files are in force")
        configure(services, "[Runtime]\nResyncInterval=7s\n")
        assert "# In force, except for: [Runtime] ResyncInterval=\n" in config()
        origin = f"# {services.home / FILE}:2: not in force; in force: ResyncInterval=60s (default)"
        assert f"{origin}\nResyncInterval=7s\n" in config()
        assert (await reload_finding())[0] == "warn"
        assert koi_runtime(services, "reload").returncode == 0
        assert "# All settings are in force.\n" in config()
        configure(services, "[HTTP]\nListen=192.0.2.77:80\n")
        assert koi_runtime(services, "reload").returncode == 1
        verdict, text = await reload_finding()
        assert verdict == "fail"
        assert text.startswith("the last reload was refused, the previous settings are in force: ")
        assert "192.0.2.77" in text
        assert "not in force; in force: Listen= (default)\nListen=192.0.2.77:80\n" in config()
        configure(services, "")
        assert koi_runtime(services, "reload").returncode == 0
        assert (await reload_finding())[0] == "ok"


async def call_state(world: World) -> tuple[str]:
    said = json.loads(koi_runtime(world, "status", "--json=short").stdout)
    return (said["state"],)


async def test_backends_go_off_and_on(services: World, tmp_path: Path) -> None:
    async with watched(services, tmp_path) as (_, seen):
        configure(services, "[Runtime]\nBackends=none\n")
        assert koi_runtime(services, "reload").returncode == 0
        assert await published(services) == {}
        assert await call(services, "ListBackends") == [[]]
        tree = services.run("busctl", "--user", "tree", "org.sylin.koi.Runtime1").stdout
        assert "backend/systemd" not in tree
        configure(services, "")
        assert koi_runtime(services, "reload").returncode == 0
        assert "web.service" in await published(services)
        await eventually(lambda: "web.service" in seen.known, "signals say the same")
        assert seen.unbalanced == []


async def test_hangup_reloads(services: World, tmp_path: Path) -> None:
    async with watched(services, tmp_path) as (running, seen):
        configure(services, "[Systemd]\nUnits=web.service\n[Runtime]\nLogLevel=debug\n")
        os.kill(running.process.pid, signal.SIGHUP)
        await eventually(lambda: seen.known == {"web.service"}, "it is reloaded")
        configure(services, "[Systemd]\nUnits=\n[Nonsense\n")
        os.kill(running.process.pid, signal.SIGHUP)
        await eventually(lambda: "refused" in running.log(), "it is refused")
        assert set(await published(services)) == {"web.service"}
        services.systemctl("stop", "web.service")
        await eventually(lambda: not seen.known, "it follows on")
        services.reload()
        await eventually(lambda: "listing again" in running.log(), "the log has debug records")


async def test_listens_elsewhere_after_a_reload(services: World, tmp_path: Path) -> None:
    def asked(name: str) -> str:
        url = "http://localhost/v1/runtime/status"
        path = f"/run/user/0/{name}"
        return services.run("curl", "-s", "--unix-socket", path, url, check=False).stdout

    async with watched(services, tmp_path) as (running, _):
        standing = json.loads(asked("koi-runtime/http.sock"))
        assert standing["active"] is True
        configure(services, "[HTTP]\nListen=/run/user/0/more.sock\n")
        assert koi_runtime(services, "reload").returncode == 0
        assert json.loads(asked("more.sock")) == json.loads(asked("koi-runtime/http.sock"))
        configure(services, "[HTTP]\nListen=/run/user/0/bus\n")
        refused = koi_runtime(services, "reload")
        assert refused.returncode == 1
        assert "another process" in refused.stderr
        assert json.loads(asked("more.sock")) == standing
        configure(services, "")
        assert koi_runtime(services, "reload").returncode == 0
        assert asked("more.sock") == ""
        assert json.loads(asked("koi-runtime/http.sock")) == standing
        assert "refused" in running.log()
