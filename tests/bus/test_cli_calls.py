"""``explain``, ``resync`` and ``reload`` with an agent on a bus."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from koi_agent.bus.interfaces import Call, ErrorReply, Interface, Method, interface
from koi_agent.core.dbus_names import MANAGER, NAME, ROOT
from koi_agent.core.events import Absent, Followed, Unfollowed
from koi_agent.core.instance import EnabledBy, KoiMetadata, PortMetadata, Protocol
from tests.bus.clients import SHOP, WEB, agent, koi_runtime
from tests.bus.tables import playing
from tests.world.bus import PrivateBus

Handler = Callable[[Call], Sequence[Any] | Awaitable[Sequence[Any]]]


@pytest.mark.parametrize("asked", ["web", "web.service", "systemd:web.service"])
async def test_explain_puts_into_words_what_decides(bus: PrivateBus, asked: str) -> None:
    metadata = replace(WEB.metadata, enabled_by=EnabledBy.EXPLICIT)
    async with agent(bus, replace(WEB, metadata=metadata, notes=("its file is huge",)), SHOP):
        said = await koi_runtime(bus, "explain", asked)
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == [
        "● web (systemd:web.service)",
        "  opted in (explicit)",
        "  because its own koi metadata says so",
        "  port [::]:80/tcp, listening: _http._tcp, as is usual for this number",
        "  refused X-Koi-Port: no port",
        "  mdns:",
        "    wanted, port 80/tcp: 'web' of type _http._tcp at this host, port 80",
        "    wanted, host name: web.local",
        "  note: its file is huge",
    ]


async def test_explain_says_how_to_opt_in(bus: PrivateBus) -> None:
    bare = replace(WEB, metadata=KoiMetadata(), ports=())
    async with agent(bus, bare, SHOP):
        said = await koi_runtime(bus, "explain", "web", "shop")
    assert said.code == 0
    web, shop = said.out.split("\n\n")
    assert "to opt it in: X-Koi-Enable=yes in its unit file\n  no port is known" in web
    assert "to opt it in: the label koi.enable=true" in shop
    assert "port 0.0.0.0:8080 -> 80/tcp, published: _http._tcp" in shop


async def test_explain_does_not_advise_whoever_opted_out(bus: PrivateBus) -> None:
    metadata = KoiMetadata(enable=False, enabled_by=EnabledBy.EXPLICIT)
    async with agent(bus, replace(WEB, metadata=metadata)):
        said = await koi_runtime(bus, "explain", "web")
    assert "  opted out (explicit)\n  because its own koi metadata says so\n" in said.out
    assert "to opt it in" not in said.out


@pytest.mark.parametrize(
    ("metadata", "port", "expected"),
    [
        (KoiMetadata(), 80, "_http._tcp, as is usual for this number"),
        (KoiMetadata(), 1, "_koi-managed._tcp, as nothing says what it serves"),
        (KoiMetadata(service_type="_ipp._tcp"), 80, "_ipp._tcp, as its metadata says"),
        (
            KoiMetadata(
                service_type="_ipp._tcp",
                ports=(((80, Protocol.TCP), PortMetadata(type="_http._tcp")),),
            ),
            80,
            "_http._tcp, as its metadata says of this port",
        ),
    ],
)
async def test_explain_tells_who_named_a_ports_type(
    bus: PrivateBus, metadata: KoiMetadata, port: int, expected: str
) -> None:
    ports = (replace(WEB.ports[0], container_port=port, host_port=port),)
    async with agent(bus, replace(WEB, metadata=metadata, ports=ports)):
        said = await koi_runtime(bus, "explain", "web")
    assert f"  port [::]:{port}/tcp, listening: {expected}\n" in said.out


async def test_explain_passes_the_agents_record_on(bus: PrivateBus) -> None:
    async with agent(bus, WEB, SHOP):
        said = await koi_runtime(bus, "explain", "web", "--json=short")
    (record,) = json.loads(said.out)
    assert (record["key"], record["enabled"]) == ("systemd:web.service", True)
    assert record["reasons"]


async def test_explain_names_what_is_not_there_and_who_is_meant(bus: PrivateBus) -> None:
    async with agent(bus, WEB, replace(SHOP, name="web")):
        said = await koi_runtime(bus, "explain", "nope", "web")
    assert (said.code, said.out) == (1, "")
    missing, ambiguous = said.err.splitlines()
    assert missing.startswith("koi-runtime: no instance named 'nope' (")
    assert ambiguous.endswith("name one of: docker:0123456789ab, systemd:web.service")


async def test_explain_lets_no_escape_through(bus: PrivateBus) -> None:
    async with agent(bus, replace(WEB, name="\x1b[31m", notes=("\x1b[2J\n\x9b",))):
        said = await koi_runtime(bus, "explain", WEB.id)
    assert not {"\x1b", "\x9b"} & set(said.out)
    assert "  note: \\x1b[2J\\x0a\\x9b\n" in said.out


async def test_resync_counts_the_differences_of_each_backend(bus: PrivateBus) -> None:
    async with agent(bus, WEB) as told:
        told.different = {"any": {"a": "added", "b": "added", "c": "removed"}}
        every = await koi_runtime(bus, "resync")
        one = await koi_runtime(bus, "resync", "systemd", "--json=short")
    assert (every.code, every.err) == (0, "")
    assert every.out.splitlines() == [
        "docker: 2 added, 0 changed, 1 removed",
        "systemd: 2 added, 0 changed, 1 removed",
    ]
    assert json.loads(one.out) == {"systemd": {"added": 2, "changed": 0, "removed": 1}}


async def test_resync_of_all_skips_absent_backends(bus: PrivateBus) -> None:
    async with agent(bus) as told:
        told.tell(Unfollowed("docker"))
        told.tell(Followed("docker", "docker"))
        told.tell(Absent(backend="docker", reason="no socket"))
        every = await koi_runtime(bus, "resync")
        named = await koi_runtime(bus, "resync", "docker")
    assert every.out == "systemd: 0 added, 0 changed, 0 removed\n"
    assert named.out == "docker: 0 added, 0 changed, 0 removed\n"


async def test_resync_of_an_unknown_backend_lists_the_known_ones(bus: PrivateBus) -> None:
    async with agent(bus):
        said = await koi_runtime(bus, "resync", "bhyve")
    assert (said.code, said.out) == (1, "")
    assert said.err == ("koi-runtime: no backend 'bhyve'; this agent follows: docker, systemd\n")


async def test_resync_reports_a_failed_backend_and_lists_the_others(bus: PrivateBus) -> None:
    async with agent(bus) as told:
        told.lost["docker"] = "no list within 10 s"
        said = await koi_runtime(bus, "resync")
    assert (said.code, said.out) == (1, "systemd: 0 added, 0 changed, 0 removed\n")
    assert said.err == "koi-runtime: docker: no list within 10 s\n"


async def test_reload_is_silent_on_success(bus: PrivateBus) -> None:
    async with agent(bus) as told:
        said = await koi_runtime(bus, "reload")
    assert (said.code, said.out, said.err) == (0, "", "")
    assert told.reloads == 1


async def test_reload_reports_the_error_of_the_configuration(bus: PrivateBus) -> None:
    async with agent(bus) as told:
        told.refusal = "/etc/koi-runtime/koi-runtime.conf:3: ResyncInterval=: 'x' is no time"
        said = await koi_runtime(bus, "reload")
    assert (said.code, said.out) == (1, "")
    assert said.err == f"koi-runtime: {told.refusal}\n"


def reloading(handle: Handler) -> dict[str, Interface]:
    return {ROOT: interface(MANAGER, Method(name="Reload", handle=handle))}


async def test_a_privileged_call_allows_interactive_authorization(bus: PrivateBus) -> None:
    calls: list[Call] = []

    def reload(call: Call) -> Sequence[Any]:
        calls.append(call)
        return ()

    async with playing(bus.address, NAME, reloading(reload)):
        assert (await koi_runtime(bus, "reload")).code == 0
    assert [call.interactive for call in calls] == [True]


@pytest.mark.parametrize("error", ["AccessDenied", "InteractiveAuthorizationRequired"])
async def test_a_call_without_authorization_is_refused_with_advice(
    bus: PrivateBus, error: str
) -> None:
    def deny(_call: Call) -> Sequence[Any]:
        raise ErrorReply(f"org.freedesktop.DBus.Error.{error}", f"{NAME}.reload: not authorized")

    async with playing(bus.address, NAME, reloading(deny)):
        said = await koi_runtime(bus, "reload")
    assert (said.code, said.out) == (1, "")
    assert said.err == f"koi-runtime: {NAME}.reload: not authorized; run the command as root\n"


@pytest.mark.parametrize("command", ["explain web", "resync", "reload"])
async def test_an_agent_that_does_not_run_is_an_error(bus: PrivateBus, command: str) -> None:
    said = await koi_runtime(bus, *command.split())
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("koi-runtime: agent on the system bus: not running; ")
