"""The command against the real agent on a real manager, as an administrator types it."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.namespaces import wait_until
from tests.world import World

COMMAND = (sys.executable, "-m", "koi_agent")
WEB = """\
[Service]
ExecStart=sleep infinity
X-Koi-Enable=yes
X-Koi-Type=_http._tcp
X-Koi-Port=no port
"""


def koi_runtime(world: World, *arguments: str) -> subprocess.CompletedProcess[str]:
    return world.run(*COMMAND, "--user", *arguments, check=False)


@contextmanager
def running(world: World, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command until the block is left, and then end it by SIGTERM, well."""
    pipe = subprocess.PIPE
    process = world.spawn(*COMMAND, "--user", *arguments, stdout=pipe, stderr=pipe)
    try:
        yield process
    finally:
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in err, err


@contextmanager
def agent(world: World) -> Iterator[subprocess.Popen[str]]:
    with running(world, "run") as process:
        wait_until(lambda: koi_runtime(world, "status").returncode == 0, "the agent")
        yield process


@pytest.fixture
def web(world: World) -> World:
    """A world in which web.service runs."""
    world.unit("web.service", WEB)
    world.systemctl("start", "web.service")
    return world


def test_a_unit_is_listed_and_shown_and_counted(web: World) -> None:
    with agent(web):
        listed = koi_runtime(web, "list", "--no-legend").stdout.splitlines()
        (shown,) = json.loads(koi_runtime(web, "show", "web", "--json=short").stdout)
        status = json.loads(koi_runtime(web, "status", "--json=short").stdout)
    assert ["web", "systemd", "running", "none", "-", "-", "-"] in [line.split() for line in listed]
    assert shown["image"] == str(web.units / "web.service")
    assert shown["metadata"]["service_type"] == "_http._tcp"
    assert [refused["key"] for refused in shown["refused"]]
    assert status["state"] == "running"
    assert status["instance_count"] == len(listed)
    backends = {backend["name"]: backend for backend in status["backends"]}
    assert backends["systemd"]["runtime_version"]
    assert backends["podman"]["state"] == "absent"


def test_a_person_reads_what_a_unit_is(web: World) -> None:
    web.drop_in("web.service", "10-about.conf", "[Unit]\nDescription=The wiki\n")
    web.reload()
    with agent(web):
        shown = koi_runtime(web, "show", "web.service")
    assert shown.returncode == 0, shown.stderr
    title = "● web (systemd:web.service) - The wiki\n"
    assert shown.stdout.startswith(f"{title}      State: running (active/")
    assert "\x1b" not in shown.stdout


def test_a_unit_is_found_by_its_aliases(world: World) -> None:
    world.unit("real-server.service", WEB)
    (world.units / "srv.service").symlink_to("real-server.service")
    world.systemctl("daemon-reload")
    world.systemctl("start", "srv.service")
    with agent(world):
        for name in ("srv", "srv.service", "systemd:srv", "real-server", "s[r]v.service"):
            (shown,) = json.loads(koi_runtime(world, "show", name, "--json=short").stdout)
            assert (shown["unit"], shown["aliases"]) == ("real-server.service", ["srv.service"])
        (world.units / "later.service").symlink_to("real-server.service")
        world.systemctl("daemon-reload")
        wait_until(lambda: koi_runtime(world, "show", "later").returncode == 0, "the new alias")


def test_watching_sees_a_unit_start_and_the_agent_restart(world: World) -> None:
    world.unit("nap.service", "[Service]\nExecStart=sleep infinity\n")
    with running(world, "watch", "--json=short") as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        assert "waiting for the agent on the user bus" in watching.stderr.readline()
        for _ in range(2):
            with agent(world):
                world.systemctl("start", "nap.service")
                world.systemctl("stop", "nap.service")
                events = read_until(watching, "stopped")
            assert [e["event"] for e in events if e["event"] != "updated"] == [
                "agent-started",
                "started",
                "stopped",
            ]
            assert {e["name"] for e in events[1:]} == {"nap"}
            assert read_until(watching, "agent-stopped")[-1]["event"] == "agent-stopped"


def read_until(watching: subprocess.Popen[str], event: str) -> list[dict[str, str]]:
    assert watching.stdout is not None
    events: list[dict[str, str]] = []
    while not events or events[-1]["event"] != event:
        events.append(json.loads(watching.stdout.readline()))
    return events


def test_a_client_costs_no_more_than_an_interpreter_with_asyncio(web: World) -> None:
    """A client that loads asyncio and dbus-next takes three times as long."""
    environment = os.environ | {"DBUS_SESSION_BUS_ADDRESS": web.bus_address}
    bare = (sys.executable, "-c", "import asyncio, json, argparse")
    with agent(web):
        pairs = [
            (seconds((*COMMAND, "--user", "list"), environment), seconds(bare, environment))
            for _ in range(10)  # in turn, because the load of the machine changes
        ]
        client, least = map(min, zip(*pairs, strict=True))
    assert client < 1.3 * least


def test_the_first_http_client_loads_the_http_server(world: World) -> None:
    curl = ("curl", "-s", "--unix-socket", "/run/user/0/koi-runtime/http.sock")
    with agent(world) as process:
        maps = Path(f"/proc/{process.pid}/maps")
        assert "/aiohttp/" not in maps.read_text()
        for _ in range(2):
            answer = world.run(*curl, "http://localhost/v1/runtime/status").stdout
            assert json.loads(answer)["active"] is True
            assert "/aiohttp/" in maps.read_text()


def seconds(command: Sequence[str], environment: Mapping[str, str]) -> float:
    """Return the processor time in seconds that a program took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_a_second_agent_is_refused(world: World) -> None:
    with agent(world):
        second = koi_runtime(world, "run")
    assert second.returncode == os.EX_TEMPFAIL
    assert "another koi-runtime runs" in second.stderr


def test_status_of_an_agent_without_backends(world: World) -> None:
    with running(world, "run", "--no-runtime", "--log-level=err") as process:
        wait_until(lambda: koi_runtime(world, "status").returncode == 0, "the agent")
        status = koi_runtime(world, "status")
        assert process.poll() is None
    assert "No backends." in status.stdout


def test_a_runtime_that_can_not_be_followed_is_a_usage_error(world: World) -> None:
    refused = koi_runtime(world, "run", "--runtime=bhyve")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
