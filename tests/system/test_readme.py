"""The recipes of README, word for word, in a booted machine."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.machine import Machine
from tests.namespaces import wait_until
from tests.system.engines import LIMITS, Engine
from tests.system.peers import BOX, Peer
from tests.system.service import CONFIGURATION, UNITS, Service
from tests.system.test_announcing import await_announced, standings, start_avahi

README = Path(__file__).parents[2] / "README.md"
NGINX = """docker import --change 'CMD ["httpd", "-f", "-p", "80"]' /srv/image.tar nginx"""
"""An image with the name that the recipe uses: machines reach no registry."""
WIKI = """\
[Service]
ExecStartPre=/bin/sh -c 'mkdir -p /run/koi-wiki; touch /run/koi-wiki/healthz'
ExecStart=/usr/bin/python3 -m http.server 8080 --directory /run/koi-wiki
"""


def blocks(heading: str) -> Sequence[str]:
    """Return the code blocks below a heading, without their fences."""
    _, _, rest = README.read_text().partition(f"\n{heading}\n")
    text, *_ = re.split(r"\n#{2,} ", rest)
    return [block[1] for block in re.finditer(r"```\w*\n(.*?)\n *```", text, re.DOTALL)]


def commands(block: str) -> Sequence[str]:
    """Return the commands of a block, without the comments behind them."""
    return [line.partition("  #")[0].strip() for line in block.splitlines()]


FIRST, DROP_IN = blocks("## First success in a minute")


@pytest.fixture
def peer(machine: Machine, service: Service) -> Iterator[Peer]:
    """Another host on the network, and Avahi on the machine."""
    made = Peer(machine)
    start_avahi(machine)
    yield made
    machine.systemctl("stop", "avahi-daemon.socket", "avahi-daemon.service")
    service.systemctl("stop")
    made.close()


@pytest.fixture
def docker(service: Service) -> Iterator[Engine]:
    """Docker with an image called nginx, which the agent follows through its gate."""
    engine = Engine(service.machine, "docker")
    engine.prepare()
    engine.open_gate(service)
    engine.start()
    service.machine.run("sh", "-ec", NGINX)
    yield engine
    engine.empty()
    engine.close_gate()
    engine.stop()


def test_first_container_is_announced_in_a_minute(
    service: Service, docker: Engine, peer: Peer
) -> None:
    machine = service.machine
    run, explain, ping, browse = commands(FIRST)
    assert run.startswith("docker run -d ")
    limits = " ".join(LIMITS["docker"])
    machine.run("sh", "-ec", run.replace("docker run", f"docker run {limits}", 1), timeout=60)
    wait_until(lambda: machine.run("sh", "-c", explain, check=False).returncode == 0, "explained")
    await_announced(service, "wiki")
    explained = machine.run("sh", "-ec", explain).stdout
    assert explained.startswith("● wiki (docker:")
    assert "wiki.local" in explained
    program, host = ping.split()
    assert program == "ping"
    wait_until(lambda: peer.ask(host, "A") == [BOX], "another host has the address")
    assert browse.startswith("avahi-browse ")
    assert "wiki" in machine.run("sh", "-ec", browse).stdout


def test_service_is_announced_by_its_drop_in(service: Service, peer: Peer) -> None:
    machine = service.machine
    machine.write(f"{UNITS}/wiki.service", WIKI)
    machine.write(f"{UNITS}/wiki.service.d/override.conf", f"{DROP_IN}\n")
    machine.systemctl("daemon-reload")
    machine.systemctl("start", "wiki.service")
    try:
        wait_until(
            lambda: ("wiki.local", "announced") in standings(service, "wiki"),
            "the host name is announced",
        )
        (record,) = json.loads(machine.run("koi-runtime", "show", "wiki", "--json=short").stdout)
        assert record["metadata"]["name"] == "wiki"
        assert record["metadata"]["health_path"] == "/healthz"
        assert [port["host_port"] for port in record["ports"]] == [8080]
    finally:
        machine.systemctl("stop", "wiki.service")
        machine.remove(f"{UNITS}/wiki.service")
        machine.remove(f"{UNITS}/wiki.service.d")


def test_every_command_of_the_table_answers_a_plain_user(service: Service) -> None:
    rows = re.findall(r"^\| `(koi-runtime [a-z-]+)[^`]*` \|", README.read_text(), re.MULTILINE)
    assert len(rows) >= 9
    answering = ("list", "announced", "status", "cat-config")
    with service.worker() as worker:
        wait_until(lambda: worker in service.listed(), "the worker is listed")
        for command in rows:
            if command.split()[1] in answering:
                done = service.machine.run(*command.split(), user="daemon", check=False)
                assert (done.returncode, done.stdout != "") == (0, True), (command, done.stderr)


def test_interfaces_answer_as_described(service: Service) -> None:
    text = README.read_text()
    curl, introspect, journal = (
        " ".join(found[1].split())
        for found in (
            re.search(r"`(curl --unix-socket [^`]+)`", text),
            re.search(r"`(busctl introspect [^`]+)`", text),
            re.search(r"`(journalctl -x [^`]+)`", text),
        )
        if found
    )
    with service.worker() as worker:
        wait_until(lambda: worker in service.listed(), "the worker is listed")
        listed = json.loads(service.machine.run("sh", "-ec", curl).stdout)
        assert worker in {one["id"] for one in listed}
        assert "ListInstances" in service.machine.run("sh", "-ec", introspect).stdout
        name = worker.removesuffix(".service")
        shown = service.machine.run("sh", "-ec", journal.replace("=web", f"={name}")).stdout
        assert "started" in shown


def test_listening_on_a_port_by_the_documented_drop_in(service: Service) -> None:
    (text,) = [block for block in blocks("## Configuration") if "[HTTP]" in block]
    service.machine.write(f"{CONFIGURATION}/koi-runtime.conf.d/10-local.conf", f"{text}\n")
    service.machine.systemctl("reload", "koi-runtime")
    address = text.partition("Listen=")[2].strip()
    index = json.loads(service.machine.run("curl", "-sSf", f"http://{address}/").stdout)
    assert "/v1/runtime/instances" in index["paths"]
