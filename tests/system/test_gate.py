"""The confined agent follows engines through their gates, and reaches nothing else of them."""

import signal
from collections.abc import Iterator

import pytest

from tests.machine.images import USER
from tests.namespaces import wait_until
from tests.system.engines import (
    IMAGE,
    SOCKETS,
    Engine,
    Engines,
    await_instance,
    await_state,
    backend,
    instances,
)
from tests.system.service import Service

AGENT = "_koi-runtime"
MOST_EXPOSURE = 2.0
EVERY = pytest.mark.parametrize("engine", SOCKETS, indirect=True)


@pytest.fixture
def engine(request: pytest.FixtureRequest, engines: Engines, service: Service) -> Iterator[Engine]:
    """An engine that does not run yet, behind a gate."""
    engine = engines[request.param]
    engine.open_gate(service)
    yield engine
    engine.start()
    engine.empty()
    engine.stop()
    engine.close_gate()


def gate(engine: Engine) -> str:
    return f"/run/koi-runtime/gate/{engine.name}.sock"


def ask(engine: Engine, path: str, *options: str, user: str = AGENT, socket: str = "") -> str:
    """Return the HTTP status of a response, 000 without a response."""
    command = ("curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", *options)
    words = (*command, "--unix-socket", socket or gate(engine), f"http://localhost{path}")
    return engine.machine.run(*words, user=user, check=False).stdout


@EVERY
def test_containers_are_followed_through_the_gate(engine: Engine, service: Service) -> None:
    assert backend(service, engine.name)["state"] == "absent"
    engine.start()
    for _ in range(2):
        assert await_state(service, engine.name, "synced")["endpoint"].endswith(gate(engine))
        live_and_die(engine, service)
        engine.machine.systemctl("kill", f"koi-runtime-gate@{engine.name}.service")
    assert engine.machine.show("koi-runtime.service", "SupplementaryGroups") == ""


def live_and_die(engine: Engine, service: Service) -> None:
    """Run, pause and remove a container, and check that it is followed."""
    labels = ("--label=koi.announce=web", "--label=token=s3cret", "--env=TOKEN=s3cret")
    id_ = engine.run(*labels, IMAGE, "sleep", "1000")
    assert await_instance(service, engine.name, id_)["metadata"]["name"] == "web"
    engine.call("pause", id_)
    wait_until(lambda: instances(service, engine.name)[id_]["state"] == "paused", "it is paused")
    engine.empty()
    wait_until(lambda: not instances(service, engine.name), "it is gone")
    assert backend(service, engine.name)["drift"] == 0


@EVERY
def test_the_agents_user_can_do_nothing_there(engine: Engine, service: Service) -> None:
    engine.start()
    await_state(service, engine.name, "synced")
    wait_until(lambda: ask(engine, "/v1.41/containers/json") == "200", "the gate answers")
    assert ask(engine, "/v1.41/images/json") == "403"
    assert ask(engine, "/v1.41/containers/create", "-d", "{}") == "403"
    assert ask(engine, "/v1.41/containers/json", "-X", "DELETE") == "403"
    assert ask(engine, "/v1.41/containers/json", user=USER) == "000"
    assert ask(engine, "/v1.41/containers/json", socket=SOCKETS[engine.name]) == "000"


@EVERY
def test_its_units_start_and_stop_together(engine: Engine, service: Service) -> None:
    machine, name = engine.machine, f"koi-runtime-gate@{engine.name}"
    engine.start()
    await_state(service, engine.name, "synced")
    for _ in range(3):
        machine.systemctl("restart", f"{name}.socket")
        wait_until(lambda: ask(engine, "/version") == "200", "it answers again")
    machine.systemctl("mask", "--now", f"{name}.path")
    wait_until(
        lambda: (
            [machine.show(f"{name}.{unit}", "ActiveState") for unit in ("service", "socket")]
            == ["inactive", "inactive"]
        ),
        "all of it has stopped",
    )
    assert ask(engine, "/version") == "000"
    machine.systemctl("enable", "koi-runtime")
    service.systemctl("restart")
    assert ask(engine, "/version") == "000", "masked is masked"
    machine.systemctl("unmask", f"{name}.path")
    machine.systemctl("start", f"{name}.path")
    wait_until(lambda: ask(engine, "/version") == "200", "it is open again")


@EVERY
def test_it_is_there_as_long_as_the_service(engine: Engine, service: Service) -> None:
    machine, name = engine.machine, f"koi-runtime-gate@{engine.name}"
    engine.start()
    await_state(service, engine.name, "synced")
    machine.kill(service.pid, signal.SIGKILL)
    wait_until(lambda: service.show("NRestarts") == "1", "the service is restarted")
    await_state(service, engine.name, "synced")
    old = machine.show(f"{name}.service", "MainPID")
    service.systemctl("restart")
    await_state(service, engine.name, "synced")
    assert machine.show(f"{name}.service", "MainPID") not in (old, "0")
    machine.systemctl("stop", "koi-runtime.socket", "koi-runtime.service")
    wait_until(
        lambda: (
            {
                machine.show(f"{name}.{kind}", "ActiveState")
                for kind in ("path", "socket", "service")
            }
            == {"inactive"}
        ),
        "all of it is closed",
    )


def test_the_gate_is_exposed_to_little(service: Service) -> None:
    said = service.machine.run(
        "systemd-analyze", "security", "--no-pager", "koi-runtime-gate@docker.service"
    ).stdout
    assert float(said.rsplit(": ", 1)[1].split()[0]) <= MOST_EXPOSURE
