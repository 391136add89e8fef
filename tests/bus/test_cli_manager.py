"""explain, resync and reload with an agent on a bus."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from koi_agent.bus.interfaces import Call, ErrorReply, Interface, Method, interface
from koi_agent.core.dbus_names import MANAGER, NAME, ROOT
from koi_agent.core.events import Absent, Followed, Unfollowed
from koi_agent.core.instance import (
    EnabledBy,
    KoiMetadata,
    PortMapping,
    PortMetadata,
    Protocol,
    Refusal,
)
from koi_agent.core.metadata.parser import from_labels
from tests.bus.clients import SHOP, WEB, agent, koi_runtime
from tests.bus.tables import playing
from tests.world.bus import PrivateBus

(PORT,) = WEB.ports
LOOPBACK = "it is bound to an address that only this host reaches"
WHERE = "lan0 192.0.2.10:80, lan0 [2001:db8::10]:80, wg0 10.9.0.1:80"
Handler = Callable[[Call], Sequence[Any] | Awaitable[Sequence[Any]]]


@pytest.mark.parametrize("asked", ["web", "web.service", "systemd:web.service"])
async def test_explain_has_line_for_each_rule(bus: PrivateBus, asked: str) -> None:
    metadata = replace(WEB.metadata, enabled_by=EnabledBy.EXPLICIT)
    async with agent(bus, replace(WEB, metadata=metadata, notes=("its file is huge",)), SHOP):
        result = await koi_runtime(bus, "explain", asked)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        "● web (systemd:web.service)",
        "  opted in (explicit)",
        "  because its own metadata sets enable",
        "  port [::]:80/tcp, listening: _http._tcp, the usual type for this port number",
        f"  reachable, port 80/tcp: {WHERE} (listening)",
        "  refused X-Koi-Port: no port",
        "  mdns:",
        "    wanted, port 80/tcp: 'web' of type _http._tcp at this host, port 80",
        "    wanted, host name: web.local",
        "  note: its file is huge",
    ]


@pytest.mark.parametrize(
    ("port", "line"),
    [
        (
            replace(PORT, host_ip="192.0.2.10", interface="lan0"),
            "reachable, port 80/tcp: lan0 192.0.2.10:80 (listening); not on wg0 (bound to lan0)",
        ),
        (
            replace(PORT, host_ip="127.0.0.1"),
            f"not reachable by other hosts, port 80/tcp: {LOOPBACK}",
        ),
    ],
)
async def test_explain_says_from_where_a_port_is_reached(
    bus: PrivateBus, port: PortMapping, line: str
) -> None:
    async with agent(bus, replace(WEB, ports=(port,))):
        result = await koi_runtime(bus, "explain", "web")
    assert f"  {line}" in result.out.splitlines()


async def test_explain_has_advice_to_opt_in(bus: PrivateBus) -> None:
    bare = replace(WEB, metadata=KoiMetadata(), ports=())
    async with agent(bus, bare, SHOP):
        result = await koi_runtime(bus, "explain", "web", "shop")
    assert result.code == 0
    web, shop = result.out.split("\n\n")
    assert "to opt it in: X-Koi-Enable=yes in its unit file\n  no port is known" in web
    assert "to opt it in: the label koi.enable=true" in shop
    assert "port 0.0.0.0:8080 -> 80/tcp, published: _http._tcp" in shop


async def test_explain_has_no_advice_after_opt_out(bus: PrivateBus) -> None:
    metadata = KoiMetadata(enable=False, enabled_by=EnabledBy.EXPLICIT)
    async with agent(bus, replace(WEB, metadata=metadata)):
        result = await koi_runtime(bus, "explain", "web")
    assert "  opted out (explicit)\n  because its own metadata sets enable\n" in result.out
    assert "to opt it in" not in result.out


@pytest.mark.parametrize(
    ("metadata", "port", "expected"),
    [
        (KoiMetadata(), 80, "_http._tcp, the usual type for this port number"),
        (KoiMetadata(), 1, "_koi-managed._tcp, the fallback for an unknown service"),
        (KoiMetadata(service_type="_ipp._tcp"), 80, "_ipp._tcp, set by its metadata"),
        (
            KoiMetadata(
                service_type="_ipp._tcp",
                ports=(((80, Protocol.TCP), PortMetadata(type="_http._tcp")),),
            ),
            80,
            "_http._tcp, set by its metadata for this port",
        ),
    ],
)
async def test_explain_has_source_of_service_type(
    bus: PrivateBus, metadata: KoiMetadata, port: int, expected: str
) -> None:
    ports = (replace(WEB.ports[0], container_port=port, host_port=port),)
    async with agent(bus, replace(WEB, metadata=metadata, ports=ports)):
        result = await koi_runtime(bus, "explain", "web")
    assert f"  port [::]:{port}/tcp, listening: {expected}\n" in result.out


async def test_explain_and_show_name_the_refused_use_of_a_value(bus: PrivateBus) -> None:
    shop = replace(SHOP, metadata=from_labels({"koi.announce": "x y"}, {}))
    async with agent(bus, shop):
        explained = await koi_runtime(bus, "explain", "shop")
        shown = await koi_runtime(bus, "show", "shop")
    assert "  host name refused: 'x y' is not a DNS name; " in explained.out
    assert "; announced as service 'x y' (koi.announce)\n" in explained.out
    assert "    Refused: koi.announce: host name refused: 'x y' is not " in shown.out


async def test_explain_in_json_is_record_of_agent(bus: PrivateBus) -> None:
    async with agent(bus, WEB, SHOP):
        result = await koi_runtime(bus, "explain", "web", "--json=short")
    (record,) = json.loads(result.out)
    assert (record["key"], record["enabled"]) == ("systemd:web.service", True)
    assert record["reasons"]


async def test_explain_reports_unknown_and_ambiguous_names(bus: PrivateBus) -> None:
    async with agent(bus, WEB, replace(SHOP, name="web")):
        result = await koi_runtime(bus, "explain", "nope", "web")
    assert (result.code, result.out) == (1, "")
    missing, ambiguous = result.err.splitlines()
    assert missing.startswith("koi-runtime: no instance named 'nope' (")
    assert ambiguous.endswith("name one of: docker:0123456789ab, systemd:web.service")


async def test_explain_escapes_control_characters(bus: PrivateBus) -> None:
    async with agent(bus, replace(WEB, name="\x1b[31m", notes=("\x1b[2J\n\x9b",))):
        result = await koi_runtime(bus, "explain", WEB.id)
    assert not {"\x1b", "\x9b"} & set(result.out)
    assert "  note: \\x1b[2J\\x0a\\x9b\n" in result.out


async def test_resync_has_differences_of_each_backend(bus: PrivateBus) -> None:
    async with agent(bus, WEB) as running:
        running.differences = {"any": {"a": "added", "b": "added", "c": "removed"}}
        every = await koi_runtime(bus, "resync")
        one = await koi_runtime(bus, "resync", "systemd", "--json=short")
    assert (every.code, every.err) == (0, "")
    assert every.out.splitlines() == [
        "docker: 2 added, 0 changed, 1 removed",
        "systemd: 2 added, 0 changed, 1 removed",
    ]
    assert json.loads(one.out) == {"systemd": {"added": 2, "changed": 0, "removed": 1}}


async def test_resync_of_all_leaves_absent_backends_out(bus: PrivateBus) -> None:
    async with agent(bus) as running:
        running.apply(Unfollowed("docker"))
        running.apply(Followed("docker", "docker"))
        running.apply(Absent(backend="docker", reason="no socket"))
        every = await koi_runtime(bus, "resync")
        named = await koi_runtime(bus, "resync", "docker")
    assert every.out == "systemd: 0 added, 0 changed, 0 removed\n"
    assert named.out == "docker: 0 added, 0 changed, 0 removed\n"


async def test_resync_of_unknown_backend_lists_known_ones(bus: PrivateBus) -> None:
    async with agent(bus):
        result = await koi_runtime(bus, "resync", "bhyve")
    assert (result.code, result.out) == (1, "")
    assert result.err == ("koi-runtime: no backend 'bhyve'; this agent follows: docker, systemd\n")


async def test_resync_reports_lost_backend_and_continues(bus: PrivateBus) -> None:
    async with agent(bus) as running:
        running.lost = {"docker": "no list within 10 s"}
        result = await koi_runtime(bus, "resync")
    assert (result.code, result.out) == (1, "systemd: 0 added, 0 changed, 0 removed\n")
    assert result.err == "koi-runtime: docker: no list within 10 s\n"


async def test_successful_reload_is_silent(bus: PrivateBus) -> None:
    async with agent(bus) as running:
        result = await koi_runtime(bus, "reload")
    assert (result.code, result.out, result.err) == (0, "", "")
    assert running.reloads == 1


async def test_failed_reload_reports_error(bus: PrivateBus) -> None:
    async with agent(bus) as running:
        running.reload_error = (
            "/etc/koi-runtime/koi-runtime.conf:3: ResyncInterval=: 'x' is not a time"
        )
        result = await koi_runtime(bus, "reload")
    assert (result.code, result.out) == (1, "")
    assert result.err == f"koi-runtime: {running.reload_error}\n"


def reloading(handle: Handler) -> dict[str, Interface]:
    return {ROOT: interface(MANAGER, Method(name="Reload", handle=handle))}


async def test_privileged_call_allows_interactive_authorization(bus: PrivateBus) -> None:
    calls: list[Call] = []

    def reload(call: Call) -> Sequence[Any]:
        calls.append(call)
        return ()

    async with playing(bus.address, NAME, reloading(reload)):
        assert (await koi_runtime(bus, "reload")).code == 0
    assert [call.interactive for call in calls] == [True]


@pytest.mark.parametrize("error", ["AccessDenied", "InteractiveAuthorizationRequired"])
async def test_denied_call_has_advice(bus: PrivateBus, error: str) -> None:
    def deny(_call: Call) -> Sequence[Any]:
        raise ErrorReply(f"org.freedesktop.DBus.Error.{error}", f"{NAME}.reload: not authorized")

    async with playing(bus.address, NAME, reloading(deny)):
        result = await koi_runtime(bus, "reload")
    assert (result.code, result.out) == (1, "")
    assert result.err == f"koi-runtime: {NAME}.reload: not authorized; run the command as root\n"


@pytest.mark.parametrize("error", ["NoSuchUnit", "UnitMasked"])
async def test_agent_that_systemd_cannot_start_is_not_running(bus: PrivateBus, error: str) -> None:
    def fail(_call: Call) -> Sequence[Any]:
        raise ErrorReply(f"org.freedesktop.systemd1.{error}", "Unit dbus-x.service not found.")

    async with playing(bus.address, NAME, reloading(fail)):
        result = await koi_runtime(bus, "reload")
    assert result.err.startswith(
        "koi-runtime: agent on the system bus: not running;"
        " start it: systemctl enable --now koi-runtime"
    )


@pytest.mark.parametrize("command", ["explain web", "resync", "reload"])
async def test_missing_agent_is_reported(bus: PrivateBus, command: str) -> None:
    result = await koi_runtime(bus, *command.split())
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("koi-runtime: agent on the system bus: not running; ")


async def test_many_reasons_are_counted_instead_of_shown(bus: PrivateBus) -> None:
    refused = tuple(
        Refusal(key=f"koi.a{n}", reason="unknown key", capability=capability)
        for capability in ("", "mdns")
        for n in range(500)
    )
    notes = tuple(f"note {n}" for n in range(300))
    web = replace(WEB, metadata=KoiMetadata(refused=refused), notes=notes)
    async with agent(bus, web):
        shown = await koi_runtime(bus, "show", "web")
        explained = await koi_runtime(bus, "explain", "web")
        whole = await koi_runtime(bus, "explain", "web", "--json=short")
    lines = [line.strip() for line in shown.out.splitlines()]
    assert sum("unknown key" in line for line in lines) == 10
    assert "990 more: koi-runtime explain web" in lines
    assert "290 more: koi-runtime explain web" in lines
    lines = [line.strip() for line in explained.out.splitlines()]
    assert sum("unknown key" in line for line in lines) == 200
    assert lines.count("400 more: koi-runtime explain --json=pretty web") == 2
    assert "200 more: koi-runtime explain --json=pretty web" in lines
    (record,) = json.loads(whole.out)
    assert (len(record["refused"]), len(record["notes"])) == (1000, 300)
