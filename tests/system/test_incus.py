"""The confined agent follows a real Incus, or a real LXD, through its gate."""

import random
import signal
import time

from tests.machine import Machine
from tests.machine.images import USER
from tests.namespaces import HarnessFailed, wait_until
from tests.system.engines import await_reason, await_state, backend, instances
from tests.system.incus import IncusServer, await_agreement, published
from tests.system.peers import BOX, Peer
from tests.system.service import Service

COUNT = 20


def ask(machine: Machine, socket: str, path: str, *options: str, user: str) -> str:
    """Return the HTTP status of a response, 000 without a response."""
    command = ("curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", *options)
    words = (*command, "--unix-socket", socket, f"http://localhost{path}")
    return machine.run(*words, user=user, check=False).stdout


def test_instances_are_followed_through_their_lives(incus: IncusServer, service: Service) -> None:
    incus.call("project", "create", "shop", "-c", "features.profiles=false")
    incus.call("project", "set", "shop", "features.images=false")
    incus.call("profile", "create", "koi")
    incus.call("profile", "set", "koi", "user.koi.enable=true", "user.koi.type=_http._tcp")
    names = [f"i{number}" for number in range(COUNT)]
    try:
        for number, name in enumerate(names):
            project = "shop" if number % 4 == 0 else "default"
            incus.launch(name, "--profile=default", "--profile=koi", project=project)
        await_agreement(incus, service, addresses=True)
        assert len(published(incus, service)) == COUNT
        live(incus, service)
    finally:
        for one in incus.listed():
            incus.call("delete", "--force", f"--project={one['project']}", one["name"])
    await_agreement(incus, service)
    assert backend(service, incus.kind.name)["drift"] == 0


def live(incus: IncusServer, service: Service) -> None:
    """Change instances, the server and the agent, and check what is published each time."""
    shown = instances(service, incus.kind.name)
    assert shown["shop/i0"]["project"] == "shop"
    assert shown["default/i1"]["metadata"]["service_type"] == "_http._tcp"
    assert shown["default/i1"]["image"] == "busybox"
    incus.call("profile", "set", "koi", "user.koi.name=Of the profile")
    wait_until(
        lambda: (
            {one["metadata"].get("name") for one in instances(service, incus.kind.name).values()}
            == {"Of the profile"}
        ),
        "the profile counts",
    )
    incus.pause("i1")
    incus.pause("i2")
    incus.call("stop", "--force", "i3", "i5")
    incus.call("rename", "i3", "renamed")
    incus.call("restart", "--force", "i6")
    incus.call(*incus.kind.snapshot, "i7")
    await_agreement(incus, service)
    assert instances(service, incus.kind.name)["default/i1"]["state"] == "paused"
    incus.call("start", "renamed")
    incus.call("exec", "i9", "--", "/bin/poweroff", "-f")
    kill_server(incus)
    incus.machine.kill(service.pid, signal.SIGKILL)
    incus.call("stop", "--force", "i10", "i11")
    for name in ("i10", "i11"):
        incus.start_instance(name)
    await_state(service, incus.kind.name, "synced")
    await_agreement(incus, service)
    for _ in range(3):
        kill_at_random(incus, service)
    await_state(service, incus.kind.name, "synced")
    await_agreement(incus, service, addresses=False)
    service.resync()
    await_agreement(incus, service)
    assert backend(service, incus.kind.name)["drift"] == 0


def kill_server(incus: IncusServer) -> None:
    """Kill the server, which systemd starts again."""
    pid = int(incus.machine.show(incus.kind.service, "MainPID"))
    incus.machine.kill(pid, signal.SIGKILL)
    wait_until(
        lambda: incus.machine.show(incus.kind.service, "MainPID") not in ("0", str(pid)),
        "the server is started again",
        timeout=60,
    )
    wait_until(lambda: _answers(incus), "the server answers", timeout=60)


def _answers(incus: IncusServer) -> bool:
    try:
        return bool(incus.listed())
    except HarnessFailed:
        return False


def kill_at_random(incus: IncusServer, service: Service) -> None:
    """Kill the agent while instances restart."""
    restarting = incus.machine.spawn(incus.kind.command, "restart", "--force", "i12", "i13")
    time.sleep(random.uniform(0, 1))
    before = service.pid
    incus.machine.kill(before, signal.SIGKILL)
    restarting.wait(60)
    wait_until(lambda: service.pid not in (0, before), "the agent is started again")
    await_state(service, incus.kind.name, "synced")


def test_metadata_in_the_project_of_a_user_does_not_count(
    incus: IncusServer, service: Service
) -> None:
    project = "user-1000"
    incus.call("project", "create", project, "-c", "features.profiles=false")
    incus.call("project", "set", project, "features.images=false")
    for where, name in ((project, "first"), ("default", "web")):
        incus.launch(name, "--config=user.koi.announce=shop", project=where)

    def opted_in() -> dict[str, object]:
        shown = instances(service, incus.kind.name)
        return {id_: one["metadata"].get("enable") for id_, one in shown.items()}

    expected = {"default/web": True, f"{project}/first": None}
    wait_until(lambda: opted_in() == expected, lambda: str(opted_in()), timeout=60)


def test_a_proxy_device_answers_from_outside(incus: IncusServer, service: Service) -> None:
    peer = Peer(incus.machine)
    try:
        incus.launch("web")
        incus.call(
            *("config", "device", "add", "web", "p", "proxy"),
            *(f"listen=tcp:{BOX}:8080-8081", "connect=tcp:127.0.0.1:80"),
        )
        wait_until(
            lambda: ports(incus, service, "default/web") == {(8080, 80, BOX), (8081, 80, BOX)},
            lambda: f"its ports are published, not {ports(incus, service, 'default/web')}",
        )
        wait_until(
            lambda: "sysinit" in _fetched(peer, f"{BOX}:8081/inittab"), "it answers from outside"
        )
    finally:
        peer.close()


def test_a_forward_of_a_network_is_a_published_port(incus: IncusServer, service: Service) -> None:
    incus.launch("web")
    await_agreement(incus, service, addresses=True)
    address = wait_until(lambda: ipv4(incus, service, "default/web"), "it has an IPv4 address")
    incus.call("network", "forward", "create", incus.kind.bridge, BOX)
    try:
        rule = ("tcp", "90-91", address, "80")
        incus.call("network", "forward", "port", "add", incus.kind.bridge, BOX, *rule)
        wait_until(
            lambda: ports(incus, service, "default/web") == {(90, 80, BOX), (91, 80, BOX)},
            lambda: f"the forward is published, not {ports(incus, service, 'default/web')}",
        )
    finally:
        incus.call("network", "forward", "delete", incus.kind.bridge, BOX)
    wait_until(lambda: not ports(incus, service, "default/web"), "the forward is gone")
    assert backend(service, incus.kind.name)["drift"] == 0


def ipv4(incus: IncusServer, service: Service, id_: str) -> str:
    """Return the IPv4 address of an instance, "" if it has none yet."""
    ips = instances(service, incus.kind.name)[id_]["ips"]
    return next((ip for ip in ips if "." in ip), "")


def ports(incus: IncusServer, service: Service, id_: str) -> set[tuple[int, int, str]]:
    shown = instances(service, incus.kind.name).get(id_, {}).get("ports", [])
    return {(one["host_port"], one["container_port"], one["host_ip"]) for one in shown}


def _fetched(peer: Peer, address: str) -> str:
    return peer.run("curl", "-s", "-m", "5", f"http://{address}", check=False)


def test_a_process_and_its_control_group_lead_to_the_instance(
    incus: IncusServer, service: Service
) -> None:
    incus.launch("web")
    await_agreement(incus, service)
    shown = instances(service, incus.kind.name)["default/web"]
    assert shown["control_group"].startswith("/lxc.payload.web")
    found = service.call("GetInstanceByPID", "u", str(shown["main_pid"])).stdout
    assert f"{incus.kind.name}_3adefault_2fweb" in found


def test_a_server_that_was_stopped_is_not_started(incus: IncusServer, service: Service) -> None:
    incus.launch("web")
    await_agreement(incus, service)
    before = incus.running()
    incus.machine.systemctl("stop", incus.kind.service)
    await_state(service, incus.kind.name, "stale")
    time.sleep(3)  # the agent tries to connect several times
    assert incus.machine.show(incus.kind.service, "ActiveState") == "inactive"
    await_reason(service, incus.kind.name, f"{incus.kind.service} is stopped")
    assert instances(service, incus.kind.name).keys() == before.keys()
    incus.machine.systemctl("start", incus.kind.service)
    await_state(service, incus.kind.name, "synced")
    await_agreement(incus, service)


def test_the_agents_user_can_do_nothing_there(incus: IncusServer, service: Service) -> None:
    machine, agent, gate = incus.machine, "_koi-runtime", incus.kind.gate
    assert backend(service, incus.kind.name)["endpoint"].endswith(gate)
    wait_until(lambda: ask(machine, gate, "/1.0", user=agent) == "200", "the gate answers")
    for path in ("/1.0/instances", "/1.0/certificates", "/1.0/events", "/internal/sql"):
        assert ask(machine, gate, path, user=agent) == "403"
    assert ask(machine, gate, "/1.0/instances", "-d", "{}", user=agent) == "403"
    assert ask(machine, gate, "/1.0", user=USER) == "000"
    assert ask(machine, incus.kind.socket, "/1.0", user=agent) == "000"
