"""Services of a swarm: the names of their tasks, and the ports that they publish."""

import asyncio
from typing import Any

import pytest

from koi_agent.backends.docker.events import SERVICE_CHANGED, parse_event
from koi_agent.backends.docker.kinds import DOCKER
from koi_agent.backends.docker.labels import parse_labels
from koi_agent.backends.docker.services import Services, ingress_ports
from koi_agent.backends.http_engine.client import RequestRefused
from koi_agent.core.instance import Protocol
from tests.unit.engine_records import port

TASK = "mf71z7f8p4o2c0a9k3x5b1n6q"
NODE = "1234567890123456789012345"


@pytest.mark.parametrize(
    ("service", "stack", "task", "names"),
    [
        ("web", "", f"web.1.{TASK}", ("web", "web", 1)),
        ("web", "", f"web.12.{TASK}", ("web", "web", 12)),
        ("shop_web", "shop", f"shop_web.2.{TASK}", ("web", "shop", 2)),
        ("shop_web", "", f"shop_web.2.{TASK}", ("shop_web", "shop_web", 2)),
        ("a_b_web", "a_b", f"a_b_web.3.{TASK}", ("web", "a_b", 3)),
        ("other_web", "shop", f"other_web.1.{TASK}", ("other_web", "shop", 1)),
        ("v1.2", "", f"v1.2.7.{TASK}", ("v1.2", "v1.2", 7)),
        ("web", "", f"web.{NODE}.{TASK}", ("web", "web", 0)),
        ("shop_web", "shop", f"shop_web.{NODE}.{TASK}", ("web", "shop", 0)),
        ("web", "", "", ("web", "web", 0)),
        ("web", "", "web.x", ("web", "web", 0)),
        ("web", "", f"web.-1.{TASK}", ("web", "web", 0)),
    ],
)
def test_task_has_the_names_of_its_service_and_its_slot(
    service: str, stack: str, task: str, names: tuple[str, str, int]
) -> None:
    labels = {"com.docker.swarm.service.name": service, "com.docker.swarm.task.name": task}
    labels |= {"com.docker.stack.namespace": stack} if stack else {}
    found = parse_labels(labels, (), DOCKER)
    assert (found.service, found.project, found.replica) == names


def test_stack_that_is_no_swarm_does_not_replace_compose() -> None:
    labels = {
        "com.docker.compose.service": "web",
        "com.docker.compose.project": "shop",
        "com.docker.compose.container-number": "3",
        "com.docker.stack.namespace": "other",
    }
    found = parse_labels(labels, (), DOCKER)
    assert (found.service, found.project, found.replica) == ("web", "shop", 3)


@pytest.mark.parametrize(("id_", "kept"), [("ab1", "ab1"), ("../x", ""), ("", ""), ("a" * 65, "")])
def test_id_of_a_service_is_safe_in_a_path(id_: str, kept: str) -> None:
    found = parse_labels({"com.docker.swarm.service.id": id_}, (), DOCKER)
    assert found.swarm_service == kept


def published(target: object, host: object, mode: str = "ingress", protocol: str = "tcp") -> Any:
    keys = ("TargetPort", "PublishedPort", "PublishMode", "Protocol")
    return dict(zip(keys, (target, host, mode, protocol), strict=True))


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ([published(80, 8080)], (port(80, 8080),)),
        ([published(80, 8081), published(80, 8080)], (port(80, 8080), port(80, 8081))),
        ([published(53, 53, protocol="udp")], (port(53, 53, protocol=Protocol.UDP),)),
        ([published(80, 8080, "host")], ()),
        ([published(80, 0)], ()),
        ([published(80, 65536)], ()),
        ([published("80", 8080)], ()),
        ([published(80, 8080, protocol="sctp")], ()),
        ([None, 5, "x", {}], ()),
        (None, ()),
    ],
)
def test_ports_published_by_ingress_are_this_hosts(ports: object, expected: object) -> None:
    assert ingress_ports({"ID": "a", "Endpoint": {"Ports": ports}}) == expected
    assert ingress_ports({}) == ()


class Manager:
    """An engine that counts the requests for a service, and may refuse them."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.asked: list[str] = []
        self._refuses = refuses

    async def inspect(self, id_: str) -> object:
        self.asked.append(id_)
        if self._refuses:
            raise RequestRefused("this node is not a swarm manager", 503)
        return {"Endpoint": {"Ports": [published(80, 8000 + len(self.asked))]}}


async def test_service_is_requested_once_until_it_changes() -> None:
    manager = Manager()
    services = Services(manager.inspect)
    for _ in range(3):
        assert await services.ports_of("a") == (port(80, 8001),)
    assert await services.ports_of("") == ()
    services.outdate("a")
    assert await services.ports_of("a") == (port(80, 8002),)
    services.clear()
    assert await services.ports_of("a") == (port(80, 8003),)
    assert manager.asked == ["a"] * 3


@pytest.mark.parametrize("is_one", [True, False])
async def test_answer_that_a_change_has_overtaken_is_not_kept(is_one: bool) -> None:  # noqa: FBT001
    manager, change = Manager(), asyncio.Event()

    async def slow(id_: str) -> object:
        answer = await manager.inspect(id_)
        await change.wait()
        return answer

    services = Services(slow)
    async with asyncio.TaskGroup() as group:
        late = group.create_task(services.ports_of("a"))
        await asyncio.sleep(0)
        if is_one:
            services.outdate("a")
        else:
            services.clear()
        change.set()
    assert late.result() == (port(80, 8001),)
    assert await services.ports_of("a") == (port(80, 8002),)


async def test_worker_of_a_swarm_knows_no_ports_and_does_not_ask_again() -> None:
    manager = Manager(refuses=True)
    services = Services(manager.inspect)
    for _ in range(3):
        assert await services.ports_of("a") == ()
    assert manager.asked == ["a"]


@pytest.mark.parametrize(
    ("action", "expected"), [("update", SERVICE_CHANGED), ("remove", SERVICE_CHANGED)]
)
def test_event_of_a_service_has_its_id(action: str, expected: str) -> None:
    line = f'{{"Type":"service","Action":"{action}","Actor":{{"ID":"ab1"}},"timeNano":5}}'
    event = parse_event(line.encode())
    assert event
    assert (event.action, event.id) == (expected, "ab1")
    assert parse_event(line.replace(action, "create").encode()) is None
