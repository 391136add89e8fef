"""list, show and status with an agent on a bus."""

import json
import os
from contextlib import suppress
from dataclasses import replace

import pytest

from koi_agent.core.events import Announced, Lost
from koi_agent.core.instance import Health, KoiMetadata, RecordState, RecordStatus
from tests.bus.clients import SHOP, VERSION, WEB, agent, koi_runtime, start
from tests.unit.things import listing
from tests.world.bus import PrivateBus

MANY = 5000


async def test_list_is_table_sorted_by_name(bus: PrivateBus) -> None:
    async with agent(bus, WEB, SHOP):
        result = await koi_runtime(bus, "list")
    assert result.code == 0
    assert result.out.splitlines() == [
        "NAME BACKEND STATE   HEALTH PORTS        ADDRESSES  ANNOUNCED",
        "shop docker  paused  none   8080->80/tcp 172.17.0.2 -",
        "web  systemd running none   80/tcp       -          -",
        "",
        "2 instances listed.",
    ]


async def test_list_without_legend_has_rows_only(bus: PrivateBus) -> None:
    async with agent(bus, WEB, SHOP):
        result = await koi_runtime(bus, "list", "--no-legend")
    assert [line.split()[0] for line in result.out.splitlines()] == ["shop", "web"]


async def test_list_without_instances(bus: PrivateBus) -> None:
    async with agent(bus):
        assert (await koi_runtime(bus, "list")).out == "No instances.\n"
        assert (await koi_runtime(bus, "list", "--no-legend")).out == ""
        assert (await koi_runtime(bus, "list", "--json=short")).out == "[]\n"


async def test_list_in_json_has_upstream_keys_and_ours(bus: PrivateBus) -> None:
    async with agent(bus, WEB, SHOP):
        short = await koi_runtime(bus, "list", "--json=short")
        pretty = await koi_runtime(bus, "--json=pretty", "list")
    assert short.out.count("\n") == 1
    assert json.loads(short.out) == json.loads(pretty.out)
    shop, web = json.loads(short.out)
    assert web.pop("discovered_at").endswith("Z")
    assert web == web | {
        "id": "web.service",
        "key": "systemd:web.service",
        "name": "web",
        "ports": [
            {
                "host_port": 80,
                "container_port": 80,
                "protocol": "tcp",
                "host_ip": "::",
                "source": "listening",
                "interface": None,
                "ipv6_only": False,
                "type": "_http._tcp",
            }
        ],
        "ips": [],
        "metadata": {"enable": True, "txt": {"path": "/x"}},
        "backend": "systemd",
        "state": "running",
        "image": "/etc/systemd/system/web.service",
        "project": None,
        "replica": None,
        "unit": "web.service",
        "aliases": [],
        "problems": [],
        "main_pid": 42,
        "control_group": "/system.slice/web.service",
        "health": "none",
        "health_detail": None,
        "announcements": [],
        "state_detail": "active/running",
        "created_at": None,
        "stale": False,
        "invocation_id": "000102030405060708090a0b0c0d0e0f",
    }
    assert shop["created_at"] == "2023-11-14T22:13:20.000000Z"
    assert "image" not in shop


ANNOUNCED = (
    RecordStatus(name="Shop._http._tcp.local", state=RecordState.ANNOUNCED),
    RecordStatus(name="The shop._http._tcp.local", state=RecordState.ANNOUNCED),
    RecordStatus(name="shop.local", state=RecordState.ANNOUNCED),
    RecordStatus(name="till.local", state=RecordState.REFUSED),
)
UNIT = replace(WEB, id="job.service", name="job", unit="job.service", health=Health.HEALTHY)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ([], ["job", "shop", "web"]),
        (["web"], ["web"]),
        (["w*", "shop.local"], ["shop", "web"]),
        (["--backend=docker"], ["shop"]),
        (["--backend", "docker,Systemd"], ["job", "shop", "web"]),
        (["--state=running", "*o*"], ["job"]),
        (["--state=paused,stopped"], ["shop"]),
        (["--health=healthy"], ["job"]),
        (["--announced"], ["shop"]),
        (["--announced", "--backend=systemd"], []),
        (["--sort=backend"], ["shop", "job", "web"]),
        (["--sort=id"], ["shop", "job", "web"]),
    ],
)
async def test_list_has_filters_and_an_order(
    bus: PrivateBus, arguments: list[str], names: list[str]
) -> None:
    async with agent(bus, WEB, SHOP, UNIT) as running:
        running.apply(Announced(SHOP.key, ANNOUNCED))
        quiet = await koi_runtime(bus, "list", "-q", *arguments)
        in_json = await koi_runtime(bus, "list", "--json=short", *arguments)
        table = await koi_runtime(bus, "list", "--no-legend", *arguments)
    assert quiet.err == ""
    assert quiet.out.splitlines() == names
    assert [record["name"] for record in json.loads(in_json.out)] == names
    assert [line.split()[0] for line in table.out.splitlines()] == names


async def test_list_has_the_requested_columns(bus: PrivateBus) -> None:
    async with agent(bus, WEB, SHOP) as running:
        running.apply(Announced(SHOP.key, ANNOUNCED))
        table = await koi_runtime(bus, "list", "--columns=key,announced", "shop")
        quiet = await koi_runtime(bus, "list", "-q", "--columns=name,announced")
    assert table.out.splitlines()[:2] == [
        "KEY                 ANNOUNCED          ",
        "docker:0123456789ab shop.local,The shop",
    ]
    assert quiet.out.splitlines() == ["shop", "shop.local", "The shop", "web"]


async def test_announced_lists_records_with_their_instances(bus: PrivateBus) -> None:
    async with agent(bus, WEB, SHOP) as running:
        running.apply(Announced(SHOP.key, ANNOUNCED))
        running.apply(
            Announced(
                WEB.key,
                (RecordStatus(name="a b._http._tcp.local", state=RecordState.ANNOUNCED),),
            )
        )
        table = (await koi_runtime(bus, "announced", "--no-legend")).out.splitlines()
        in_json = json.loads((await koi_runtime(bus, "announced", "--json=short")).out)
        one = json.loads((await koi_runtime(bus, "announced", "web", "--json=short")).out)
        missing = await koi_runtime(bus, "announced", "nope")
    assert [line.split()[:4] for line in table] == [
        ["a", "b", "_http._tcp", "web"],
        ["Shop", "_http._tcp", "shop", "8080->80/tcp"],
        ["shop.local", "host", "name", "shop"],
        ["The", "shop", "_http._tcp", "shop"],
    ]
    assert [record["name"] for record in in_json] == [
        "a b._http._tcp.local",
        "Shop._http._tcp.local",
        "shop.local",
        "The shop._http._tcp.local",
    ]
    assert [record["instance"] for record in one] == [str(WEB.key)]
    assert missing.code == 1


async def test_list_reports_words_without_a_match_after_the_table(bus: PrivateBus) -> None:
    async with agent(bus, WEB, SHOP):
        result = await koi_runtime(bus, "list", "-q", "nope", "web", "x*")
    assert (result.code, result.out) == (1, "web\n")
    missing, unmatched = result.err.splitlines()
    assert missing.startswith("koi-runtime: no instance named 'nope' (")
    assert unmatched.startswith("koi-runtime: no instance matches 'x*' (")


@pytest.mark.parametrize(
    "option", ["--state=up", "--health=good", "--backend=bhyve", "--columns=name,size", "--sort=x"]
)
async def test_list_refuses_unknown_words(bus: PrivateBus, option: str) -> None:
    result = await koi_runtime(bus, "list", option)
    assert (result.code, result.out) == (2, "")
    assert option.partition("=")[0] in result.err


async def test_list_in_a_pipe_is_bounded_and_keeps_names(bus: PrivateBus) -> None:
    name = "n" * 200
    long = replace(SHOP, name=name, ips=tuple(f"10.0.0.{n}" for n in range(100)))
    async with agent(bus, WEB, long):
        bounded = (await koi_runtime(bus, "list")).out.splitlines()
        full = (await koi_runtime(bus, "list", "--full")).out.splitlines()
        narrow = (await koi_runtime(bus, "list", "systemd:*")).out.splitlines()
    assert bounded[1].startswith(f"{name} docker")
    assert max(map(len, bounded)) < 300
    assert "10.0.0.99" in full[1]
    assert "…" not in full[1]
    assert len(narrow[0]) < 100


async def test_list_works_with_thousands(bus: PrivateBus) -> None:
    many = [replace(WEB, id=f"u{n}.service", name=f"u{n}", unit="") for n in range(MANY)]
    async with agent(bus, *many):
        result = await koi_runtime(bus, "list")
    assert result.out.endswith(f"\n{MANY} instances listed.\n")


async def test_closed_pipe_ends_list_silently(bus: PrivateBus) -> None:
    many = [replace(WEB, id=f"u{n}.service", name=f"u{n}", unit="") for n in range(2000)]
    reading, writing = os.pipe()
    async with agent(bus, *many):
        process = await start(bus.address, "list", stdout=writing)
        os.close(writing)
        os.close(reading)
        _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")


async def test_full_device_is_an_error(bus: PrivateBus) -> None:
    async with agent(bus, WEB):
        full = os.open("/dev/full", os.O_WRONLY)
        process = await start(bus.address, "list", stdout=full)
        os.close(full)
        _, err = await process.communicate()
    assert process.returncode == 1
    assert err == b"koi-runtime: standard output: cannot be written: No space left on device\n"


@pytest.mark.parametrize("asked", ["web", "web.service", "systemd:web.service"])
async def test_show_finds_by_name_id_and_key(bus: PrivateBus, asked: str) -> None:
    async with agent(bus, WEB, SHOP):
        result = await koi_runtime(bus, "show", asked)
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0] == "● web (systemd:web.service)"
    assert "      State: running (active/running)" in lines
    assert "   Main PID: 42" in lines
    assert "     CGroup: /system.slice/web.service" in lines
    assert "      Ports: [::]:80/tcp (listening, _http._tcp)" in lines
    assert "   Metadata: enable=true" in lines
    assert "             txt.path=/x" in lines
    assert "    Refused: X-Koi-Port: no port" in lines


async def test_show_has_health_and_record_status(bus: PrivateBus) -> None:
    announced = (
        RecordStatus(
            capability="mdns",
            provider="avahi",
            name="web.local",
            state=RecordState.ANNOUNCED,
            since=1_700_000_000_000_000,
        ),
        RecordStatus(
            capability="mdns", name="port 81/tcp", state=RecordState.REFUSED, reason="it is not"
        ),
    )
    web = replace(
        WEB,
        health=Health.UNHEALTHY,
        health_detail="HTTP 404",
        announcements=announced,
        metadata=replace(WEB.metadata, subtypes=("_a", "_b")),
    )
    async with agent(bus, web):
        result = await koi_runtime(bus, "show", "web")
        in_json = await koi_runtime(bus, "show", "web", "--json=short")
    lines = result.out.splitlines()
    assert "     Health: unhealthy (HTTP 404)" in lines
    assert "             subtypes=_a,_b" in lines
    assert "  Announced: web.local (announced, avahi)" in lines
    assert "             port 81/tcp (refused, mdns): it is not" in lines
    (record,) = json.loads(in_json.out)
    assert record["announcements"][0]["since"] == "2023-11-14T22:13:20.000000Z"
    assert record["health_detail"] == "HTTP 404"


async def test_show_finds_container_by_its_unit(bus: PrivateBus) -> None:
    async with agent(bus, WEB, replace(SHOP, unit="web.service")):
        result = await koi_runtime(bus, "show", "web.service", "--json=short")
    assert [record["id"] for record in json.loads(result.out)] == [SHOP.id]


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        (["wiki"], ["shop"]),
        (["WIKI.local"], ["shop"]),
        (["0123"], ["shop"]),
        (["docker:shop"], ["shop"]),
        (["docker:wiki"], ["shop"]),
        (["site"], ["web"]),
        (["site.service"], ["web"]),
        (["systemd:*"], ["web"]),
        (["*"], ["shop", "web"]),
        (["web", "w*", "shop", "wiki"], ["web", "shop"]),
    ],
)
@pytest.mark.parametrize("command", ["show", "explain"])
async def test_instances_are_found_by_all_their_names(
    bus: PrivateBus, command: str, asked: list[str], names: list[str]
) -> None:
    announced = RecordStatus(name="wiki.local", state=RecordState.ANNOUNCED)
    shop = replace(SHOP, announcements=(announced,), metadata=KoiMetadata(enable=True))
    async with agent(bus, replace(WEB, aliases=("site.service",)), shop) as running:
        running.apply(Announced(shop.key, (announced,)))
        result = await koi_runtime(bus, command, *asked, "--json=short")
    assert result.err == ""
    assert [record["name"] for record in json.loads(result.out)] == names


async def test_pattern_without_a_match_is_an_error(bus: PrivateBus) -> None:
    async with agent(bus, WEB):
        result = await koi_runtime(bus, "show", "x*")
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("koi-runtime: no instance matches 'x*' (")


async def test_show_in_json_has_refused_metadata(bus: PrivateBus) -> None:
    async with agent(bus, WEB, SHOP):
        result = await koi_runtime(bus, "show", "web", "shop", "--json=short")
    web, shop = json.loads(result.out)
    refused = {"key": "X-Koi-Port", "reason": "no port", "capability": "", "part": ""}
    assert web["refused"] == [refused]
    assert (shop["refused"], shop["notes"]) == ([], [])


async def test_show_lists_candidates_of_ambiguous_name(bus: PrivateBus) -> None:
    async with agent(bus, WEB, replace(SHOP, name="web")):
        result = await koi_runtime(bus, "show", "web")
    assert (result.code, result.out) == (1, "")
    assert result.err == (
        "koi-runtime: 'web' is more than one instance, name one of:"
        " docker:0123456789ab, systemd:web.service\n"
    )


async def test_show_reports_unknown_names_after_known_ones(bus: PrivateBus) -> None:
    async with agent(bus, WEB):
        result = await koi_runtime(bus, "show", "nope", "web")
    assert result.code == 1
    assert result.out.startswith("● web ")
    assert result.err.startswith("koi-runtime: no instance named 'nope' (")


async def test_status_has_agent_and_backends(bus: PrivateBus) -> None:
    async with agent(bus, WEB, SHOP) as running:
        running.apply(Lost(backend="docker", reason="socket closed"))
        result = await koi_runtime(bus, "status")
        record = json.loads((await koi_runtime(bus, "status", "--json=short")).out)
    assert result.code == 0
    assert result.out.startswith(
        f"● koi-runtime {VERSION} on the system bus\n    State: degraded\n"
    )
    assert "Instances: 2\n" in result.out
    assert [backend["state"] for backend in record["backends"]] == ["stale", "synced"]
    assert record["backends"][0]["last_error"] == "socket closed"
    assert (record["version"], record["instance_count"]) == (VERSION, 2)


async def test_status_shows_each_error_in_full_on_a_line(bus: PrivateBus) -> None:
    reason = "/run/podman/podman.sock: permission denied on the folder /run/podman (root:root 0700)"
    ours, theirs = os.openpty()
    async with agent(bus, WEB, SHOP) as running:
        running.apply(Lost(backend="docker", reason=reason))
        env = {"COLUMNS": "80", "TERM": "dumb"}
        process = await start(bus.address, "status", stdout=theirs, env=env)
        await process.wait()
    os.close(theirs)
    out = text_of(ours)
    assert out.endswith(f" backends listed.\n\ndocker: {reason}\n")
    table = out.split("\n\n")[1].splitlines()
    assert "DRIFT" not in table[0]
    assert "RECONNECTS" not in table[0]
    assert max(map(len, table)) <= 80


async def test_status_shows_a_count_that_is_not_0(bus: PrivateBus) -> None:
    async with agent(bus, WEB, SHOP) as running:
        running.apply(Lost(backend="docker", reason="gone"))
        running.apply(listing("docker", SHOP, drifted=[SHOP.id]))
        lines = (await koi_runtime(bus, "status")).out.splitlines()
    head = next(line for line in lines if line.startswith("BACKEND"))
    assert head.split()[:5] == ["BACKEND", "STATE", "INSTANCES", "DRIFT", "RECONNECTS"]
    assert [line.split()[2:5] for line in lines if line.startswith(("docker ", "systemd "))] == [
        ["1", "1", "1"],
        ["1", "0", "0"],
    ]
    assert not any(line.startswith("docker:") for line in lines)


@pytest.mark.parametrize("command", ["list", "status", "show web"])
async def test_missing_agent_is_reported_with_advice(bus: PrivateBus, command: str) -> None:
    result = await koi_runtime(bus, *command.split())
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(
        "koi-runtime: agent on the system bus: not running;"
        " start it: systemctl enable --now koi-runtime"
    )


@pytest.mark.parametrize("command", ["list", "watch"])
async def test_missing_bus_is_reported_with_its_address(bus: PrivateBus, command: str) -> None:
    result = await koi_runtime(bus, command, env={"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nowhere"})
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(
        "koi-runtime: system bus at unix:path=/nowhere: connection failed: No such file or"
        " directory; "
    )
    assert result.err.count("\n") == 1


async def test_control_characters_are_escaped(bus: PrivateBus) -> None:
    evil = replace(SHOP, name="\x1b[31mevil\u202e", ips=("\x9b",))
    async with agent(bus, evil):
        for command in ("list", "show docker:0123456789ab", "show \x1b[31m"):
            result = await koi_runtime(bus, *command.split(" ", 1))
            assert not {"\x1b", "\x9b", "\u202e"} & set(result.out + result.err)
        listed = await koi_runtime(bus, "list", "--json=short")
    assert listed.out.isascii()
    assert json.loads(listed.out)[0]["name"] == evil.name


async def test_terminal_without_unicode_gets_escapes(bus: PrivateBus) -> None:
    async with agent(bus, replace(WEB, name="café")):
        result = await koi_runtime(bus, "show", "café", env={"PYTHONIOENCODING": "ascii"})
    assert result.out.startswith("* caf\\xe9 (systemd:web.service)\n")


async def on_terminal(bus: PrivateBus, *arguments: str, **env: str) -> str:
    """Return what a terminal shows of a command."""
    ours, theirs = os.openpty()
    process = await start(bus.address, *arguments, stdout=theirs, env={"TERM": "xterm", **env})
    os.close(theirs)
    await process.communicate()
    return text_of(ours)


def text_of(terminal: int) -> str:
    """Return all that a terminal shows, which comes in several parts, and close it."""
    shown = b""
    with suppress(OSError):  # the end of a terminal
        while part := os.read(terminal, 65536):
            shown += part
    os.close(terminal)
    return shown.decode().replace("\r\n", "\n")


async def test_terminal_shows_output_in_the_chosen_pager(bus: PrivateBus) -> None:
    tags = {"SYSTEMD_PAGER": "sed s/^/tag:/", "PAGER": "false"}
    async with agent(bus, WEB, SHOP):
        for command in ("list", "show web", "explain web", "announced", "status", "cat-config"):
            shown = await on_terminal(bus, *command.split(), **tags)
            assert all(line.startswith("tag:") for line in shown.splitlines()), command
            assert shown.count("\n") > 1 or command == "announced"
        own = await on_terminal(bus, "list", "-q", SYSTEMD_PAGER="/nonexistent/pager")
        plain = [
            await on_terminal(bus, "list", "-q", "--no-pager", **tags),
            await on_terminal(bus, "list", "-q", SYSTEMD_PAGER="", PAGER="sed s/^/tag:/"),
            await on_terminal(bus, "list", "-q", SYSTEMD_PAGER="cat"),
            await on_terminal(bus, "list", "-q", TERM="dumb", **tags),
            (await koi_runtime(bus, "list", "-q", env=tags)).out,
        ]
        left = await on_terminal(bus, "list", SYSTEMD_PAGER="true")
    assert "shop" in own
    assert plain == ["shop\nweb\n"] * 5
    assert left == ""


async def test_terminal_gets_colour_and_short_lines(bus: PrivateBus) -> None:
    ours, theirs = os.openpty()
    crowd = replace(SHOP, ips=tuple(f"10.0.0.{n}" for n in range(30)))
    async with agent(bus, crowd):
        process = await start(
            bus.address, "list", stdout=theirs, env={"COLUMNS": "60", "TERM": "xterm"}
        )
        await process.wait()
    os.close(theirs)
    out = text_of(ours)
    head, row, *_ = out.splitlines()
    assert head.startswith("\x1b[0;4mNAME")
    assert "\x1b[0;1;38;5;185mpaused\x1b[0m" in row
    assert row.endswith("… -")
