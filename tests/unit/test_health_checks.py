"""Which instances are checked, how and where."""

from dataclasses import replace

import pytest

from koi_agent.capabilities.health.checks import Defaults, HealthCheck, check_of
from koi_agent.core.errors import BadInput
from koi_agent.core.instance import (
    CheckKind,
    Health,
    Instance,
    InstanceState,
    KoiMetadata,
    PortMapping,
    PortSource,
    Protocol,
)
from koi_agent.core.traits import CONTAINER, UNIT


def port(
    inside: int, outside: int, ip: str = "0.0.0.0", protocol: Protocol = Protocol.TCP
) -> PortMapping:
    return PortMapping(
        container_port=inside,
        host_port=outside,
        protocol=protocol,
        host_ip=ip,
        source=PortSource.PUBLISHED,
    )


def made(*ports: PortMapping, backend: str = "docker", ips: tuple[str, ...] = ()) -> Instance:
    return Instance(
        id="a",
        name="web",
        backend=backend,
        state=InstanceState.RUNNING,
        ports=ports,
        ips=ips,
        traits=UNIT if backend == "systemd" else CONTAINER,
    )


def check_with(instance: Instance, **metadata: object) -> HealthCheck | None:
    """Return the check of an instance with this metadata."""
    opted_in = replace(instance, metadata=KoiMetadata(enable=True, **metadata))  # type: ignore[arg-type]
    return check_of(opted_in, Defaults())


WEB = made(port(80, 8080))


@pytest.mark.parametrize(
    ("metadata", "target"),
    [
        ({}, "127.0.0.1:8080"),
        ({"health_kind": "tcp"}, "127.0.0.1:8080"),
        ({"health_kind": "http"}, "http://127.0.0.1:8080/"),
        ({"health_path": "/up"}, "http://127.0.0.1:8080/up"),
        ({"health_path": "/up", "health_kind": "tcp"}, "127.0.0.1:8080"),
        ({"health_path": "/up", "health_scheme": "https"}, "https://127.0.0.1:8080/up"),
    ],
)
def test_metadata_sets_kind_path_and_scheme(metadata: dict[str, object], target: str) -> None:
    check = check_with(WEB, **metadata)
    assert check
    assert (check.target, check.interval, check.timeout) == (target, 30.0, 5.0)


def test_metadata_sets_interval_and_timeout() -> None:
    check = check_with(WEB, health_interval=7, health_timeout=2)
    assert check
    assert (check.interval, check.timeout) == (7.0, 2.0)


def test_interval_and_timeout_have_a_maximum() -> None:
    check = check_with(WEB, health_interval=2**32 - 1, health_timeout=2**32 - 1)
    assert check
    assert (check.interval, check.timeout) == (86_400.0, 300.0)
    check = check_with(WEB, health_interval=2, health_timeout=10)
    assert check
    assert check.timeout == 2.0


@pytest.mark.parametrize(
    ("instance", "target"),
    [
        (made(port(80, 8080, "192.0.2.7")), "192.0.2.7:8080"),
        (made(port(80, 8080, "::")), "127.0.0.1:8080"),
        (made(replace(port(80, 8080, "::"), is_v6only=True)), "[::1]:8080"),
        (made(port(80, 8080), port(80, 8080, "::")), "127.0.0.1:8080"),
        (made(port(80, 8080, "2001:db8::7")), "[2001:db8::7]:8080"),
        (made(port(443, 0), port(80, 8080)), "127.0.0.1:8080"),
        (made(port(53, 53, protocol=Protocol.UDP), port(80, 8080)), "127.0.0.1:8080"),
    ],
)
def test_a_check_connects_to_an_address_that_this_host_reaches(
    instance: Instance, target: str
) -> None:
    check = check_with(instance)
    assert check
    assert check.target == target


def test_an_unpublished_port_is_checked_only_if_metadata_requests_it() -> None:
    inside = made(port(80, 0), ips=("fe80::1", "172.17.0.2"))
    assert check_with(inside) is None
    check = check_with(inside, health_path="/")
    assert check
    assert check.target == "http://172.17.0.2:80/"


def test_the_port_that_metadata_names_is_checked() -> None:
    check = check_with(made(port(80, 8080), port(90, 9090)), port=90)
    assert check
    assert (check.kind, check.targets[0].port) == (CheckKind.TCP, 9090)


@pytest.mark.parametrize("health", [Health.HEALTHY, Health.STARTING, Health.UNHEALTHY])
def test_an_instance_that_its_runtime_checks_is_not_checked(health: Health) -> None:
    assert check_with(replace(WEB, health=health), health_path="/") is None
    assert check_with(replace(WEB, health=health, checked=True), health_path="/")


@pytest.mark.parametrize("health", [Health.NONE, Health.HEALTHY])
def test_a_unit_is_checked_only_if_metadata_requests_it(health: Health) -> None:
    unit = replace(made(port(80, 80, ""), backend="systemd"), health=health)
    assert check_with(unit) is None
    check = check_with(unit, health_kind="tcp")
    assert check
    assert check.target == "127.0.0.1:80"


def test_a_stopping_unit_is_not_checked_because_its_socket_could_start_it() -> None:
    unit = replace(made(port(80, 80, ""), backend="systemd"), state_detail="active/running")
    assert check_with(unit, health_kind="tcp")
    stopping = replace(unit, ending=True)
    assert check_with(stopping, health_kind="tcp") is None


@pytest.mark.parametrize(
    ("instance", "metadata", "why"),
    [
        (made(), {"health_path": "/"}, "no TCP port"),
        (made(port(53, 53, protocol=Protocol.UDP)), {"health_kind": "tcp"}, "no TCP port"),
        (WEB, {"health_kind": "tcp", "port": 81}, "no TCP port"),
        (WEB, {"health_kind": "tcp", "health_scheme": "https"}, "by HTTP"),
    ],
)
def test_a_check_that_is_not_possible_is_refused(
    instance: Instance, metadata: dict[str, object], why: str
) -> None:
    with pytest.raises(BadInput, match=why):
        check_with(instance, **metadata)
