"""Docker and Podman are followed by the installed, confined service."""

import json
import time
from datetime import datetime

import pytest

from koi_agent.follow.attempts import LONGEST_PAUSE
from tests.namespaces import wait_until
from tests.system.engines import (
    AT_ONCE,
    IMAGE,
    SOCKETS,
    Engine,
    await_instance,
    await_state,
    backend,
    instances,
)
from tests.system.service import NAME, ROOT, Service

QUADLET = f"""\
[Container]
Image={IMAGE}
Exec=httpd -f -p 80
PublishPort=18200:80
StopTimeout=1
PodmanArgs=--pids-limit=0
[X-Koi]
Enable=yes
Name=From a unit
"""
QUADLET_FILE = "/etc/containers/systemd/koi-quadlet.container"
CONFIGURATION = "/etc/containers/containers.conf"
EVERY = pytest.mark.parametrize("engine", SOCKETS, indirect=True)
DOCKER = pytest.mark.parametrize("engine", ["docker"], indirect=True)
PODMAN = pytest.mark.parametrize("engine", ["podman"], indirect=True)


@EVERY
def test_socket_that_appears_is_followed_at_once(engine: Engine, service: Service) -> None:
    assert backend(service, engine.name)["state"] == "absent"
    engine.start()
    ready = time.time()
    await_state(service, engine.name, "synced")
    changed = engine.machine.run("stat", "--format=%.Z", engine.socket).stdout
    records = service.records(f"KOI_BACKEND={engine.name}")
    synced = [record for record in records if "synced" in record["MESSAGE"]]
    took = int(synced[0]["__REALTIME_TIMESTAMP"]) / 1e6 - max(float(changed), ready)
    assert took < LONGEST_PAUSE / 3, "found by an attempt to connect, not by the new socket"


@EVERY
def test_container_is_shown_with_all_that_it_is(engine: Engine, service: Service) -> None:
    engine.start()
    id_ = engine.run(
        *("--name=shop", "--publish=18080:80", "--label=koi.enable=true"),
        *("--env=KOI_MDNS_ANNOUNCE=The shop", "--env=TOKEN=secret"),
        *(IMAGE, "httpd", "-f", "-p", "80"),
    )
    shown = await_instance(service, engine.name, id_)
    said = engine.inspect(id_)
    assert shown["name"] == "shop"
    assert shown["main_pid"] == said["State"]["Pid"]
    assert id_ in shown["control_group"]
    assert [(port["host_port"], port["container_port"]) for port in shown["ports"]] == [(18080, 80)]
    assert shown["ips"]
    assert shown["metadata"]["name"] == "The shop"
    assert "secret" not in json.dumps(shown)
    by_pid = service.call("GetInstanceByPID", "u", str(shown["main_pid"]))
    assert f"{engine.name}_3a{id_}" in by_pid.stdout


@EVERY
def test_container_is_published_within_a_second_of_its_start(
    engine: Engine, service: Service
) -> None:
    engine.start()
    await_state(service, engine.name, "synced")
    id_ = engine.run(IMAGE, "sleep", "1000")
    await_instance(service, engine.name, id_)
    started = datetime.fromisoformat(engine.inspect(id_)["State"]["StartedAt"]).timestamp()
    (told,) = service.records("KOI_EVENT=started", f"KOI_INSTANCE={engine.name}:{id_}")
    assert 0 < int(told["__REALTIME_TIMESTAMP"]) / 1e6 - started < LONGEST_PAUSE / 3


@EVERY
def test_containers_come_and_go_as_the_engine_says(engine: Engine, service: Service) -> None:
    engine.start()
    await_state(service, engine.name, "synced")
    first = engine.run(IMAGE, "sleep", "1000")
    second = engine.run(IMAGE, "sleep", "1000")
    engine.call("pause", second)
    wait_until(
        lambda: (
            {id_: row["state"] for id_, row in instances(service, engine.name).items()}
            == {first: "running", second: "paused"}
        ),
        "both are shown as they are",
    )
    engine.call("unpause", second)
    engine.call("rm", "--force", *AT_ONCE[engine.name], first)
    wait_until(lambda: set(instances(service, engine.name)) == {second}, "only one is left")
    assert backend(service, engine.name)["drift"] == 0


@EVERY
def test_container_on_the_hosts_network_shows_its_listeners(
    engine: Engine, service: Service
) -> None:
    engine.start()
    if engine.name == "docker" and engine.machine.suite != "here":
        assert engine.call("info", "--format={{.CgroupDriver}}") == "systemd"
    exposed = ("--expose=80", "--expose=443", "--expose=9/udp")
    id_ = engine.run("--network=host", *exposed, IMAGE, "httpd", "-f", "-p", "18300")
    wait_until(
        lambda: (
            [port["host_port"] for port in instances(service, engine.name)[id_]["ports"]] == [18300]
            if id_ in instances(service, engine.name)
            else False
        ),
        "its port is seen, and no other",
    )
    shown = await_instance(service, engine.name, id_)
    by_pid = service.call("GetInstanceByPID", "u", str(shown["main_pid"]))
    assert f"{engine.name}_3a{id_}" in by_pid.stdout


@EVERY
def test_engine_that_may_not_be_asked_is_told_of_everywhere(
    engine: Engine, service: Service
) -> None:
    engine.forbid()
    service.forget()
    engine.machine.systemctl("daemon-reload")
    service.systemctl("restart")
    engine.start()
    told = await_state(service, engine.name, "failed")["last_error"]
    assert told.startswith(f"{engine.socket}: permission denied ")
    assert f"&& systemctl start koi-runtime-gate@{engine.name}.path" in told
    assert told in service.journal()
    target = (NAME, f"{ROOT}/backend/{engine.name}", f"{NAME}.Backend", "LastError")
    asked = engine.machine.run("busctl", "--system", "get-property", *target)
    assert told in asked.stdout
    doctor = engine.machine.run("koi-runtime", "--system", "doctor", check=False)
    assert told in doctor.stdout
    assert f"{engine.name}: gate masked" in doctor.stdout
    assert doctor.returncode == 1


@PODMAN
def test_an_engine_that_nobody_may_see_is_absent(engine: Engine, service: Service) -> None:
    engine.machine.run("install", "--directory", "--mode=0700", "/run/podman")
    service.systemctl("restart")
    told = await_state(service, "podman", "absent")["last_error"]
    assert told == "podman.socket is not active; systemctl enable --now podman.socket"
    assert told in service.journal()
    assert service.status.count("podman") == 0


@DOCKER
def test_docker_that_restarts_is_followed_again(engine: Engine, service: Service) -> None:
    engine.start()
    id_ = engine.run("--restart=always", IMAGE, "sleep", "1000")
    await_instance(service, "docker", id_)
    engine.machine.systemctl("restart", "docker.service")
    told = await_state(service, "docker", "synced")
    await_instance(service, "docker", id_)
    assert told["reconnects"] >= 1


@PODMAN
def test_podmans_service_may_end_whenever_it_likes(engine: Engine, service: Service) -> None:
    engine.start()
    id_ = engine.run(IMAGE, "sleep", "1000")
    await_instance(service, "podman", id_)
    engine.machine.systemctl("stop", "podman.service")
    other = engine.run(IMAGE, "sleep", "1000")
    await_instance(service, "podman", other)
    told = backend(service, "podman")
    assert (told["state"], told["reconnects"], told["drift"]) == ("synced", 0, 0)
    assert "podman: disconnected" not in service.journal()


@PODMAN
def test_podmans_socket_that_is_made_anew_ends_no_container(
    engine: Engine, service: Service
) -> None:
    engine.start()
    id_ = engine.run(IMAGE, "sleep", "1000")
    await_instance(service, "podman", id_)
    engine.machine.systemctl("restart", "podman.socket")
    other = engine.run(IMAGE, "sleep", "1000")
    await_instance(service, "podman", other)
    assert set(instances(service, "podman")) == {id_, other}
    told = service.records("KOI_EVENT=started", f"KOI_INSTANCE=podman:{id_}")
    assert len(told) == 1
    assert not service.records("KOI_EVENT=stopped", "KOI_BACKEND=podman")


@PODMAN
def test_podman_without_events_is_asked_now_and_then(engine: Engine, service: Service) -> None:
    engine.machine.write(CONFIGURATION, '[engine]\nevents_logger="none"\n')
    try:
        engine.start()
        await_state(service, "podman", "synced")
        id_ = engine.run(IMAGE, "sleep", "1000")
        await_instance(service, "podman", id_)
        engine.call("rm", "--force", *AT_ONCE["podman"], id_)
        wait_until(lambda: not instances(service, "podman"), "it is gone")
        assert backend(service, "podman")["state"] == "synced"
    finally:
        engine.machine.remove(CONFIGURATION)


@PODMAN
def test_unit_of_quadlet_is_one_instance(engine: Engine, service: Service) -> None:
    if engine.machine.suite == "bookworm":
        pytest.skip("podman 4.3 has no Quadlet")
    engine.start()
    await_state(service, "podman", "synced")
    engine.machine.write(QUADLET_FILE, QUADLET)
    engine.machine.systemctl("daemon-reload")
    try:
        engine.machine.systemctl("start", "koi-quadlet.service")
        (id_,) = engine.call("ps", "--quiet", "--no-trunc").split()
        shown = await_instance(service, "podman", id_)
        assert shown["unit"] == "koi-quadlet.service"
        assert shown["metadata"]["name"] == "From a unit"
        by_unit = service.call("GetInstanceByUnit", "s", "koi-quadlet.service")
        assert f"podman_3a{id_}" in by_unit.stdout
        assert "koi-quadlet.service" not in instances(service, "systemd")
        engine.machine.systemctl("stop", "koi-quadlet.service")
        wait_until(lambda: id_ not in instances(service, "podman"), "it is gone")
    finally:
        engine.machine.remove(QUADLET_FILE)
        engine.machine.systemctl("stop", "koi-quadlet.service", check=False)
        engine.machine.systemctl("daemon-reload")
    told = [record["KOI_INSTANCE"] for record in service.records("KOI_EVENT=started")]
    assert told.count(f"podman:{id_}") == 1
    assert "systemd:koi-quadlet.service" not in told
