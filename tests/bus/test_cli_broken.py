"""Commands on broken buses, and with agents that answer nonsense: the error is one line."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from koi_agent.bus.variants import Variant
from koi_agent.core.dbus_names import INSTANCE
from tests.bus.broken_buses import FAILING, OPENING, reply
from tests.bus.clients import Result, finished, start
from tests.bus.far_ends import Behaviour, answer, far_end, greet, next_serial, silence
from tests.bus.wire import body_of, frame

COLUMNS, MANAGED = "a{sv}", "a{oa{sa{sv}}}"
COMMANDS = ("list", "list web", "status", "show web", "announced", "reload", "resync")
# A call may take 25 s, and a call that needs a password 180 s.
QUICK = {name: row for name, row in FAILING.items() if row[1] is not TimeoutError}


async def run(folder: Path, behave: Behaviour, *arguments: str) -> Result:
    """Run a command on a bus to its end."""
    async with far_end(folder, behave) as where:
        process = await start(where, *arguments)
        out, err = await finished(process)
    assert process.returncode is not None
    return Result(process.returncode, out, err)


def assert_one_line(result: Result) -> None:
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("koi-runtime: ")
    assert result.err.count("\n") == 1
    assert "Traceback" not in result.err
    assert result.err.strip().isprintable()


@pytest.mark.parametrize(("behave", "reason"), OPENING)
async def test_bus_that_cannot_be_connected_to_is_named(
    behave: Behaviour, reason: str, tmp_path: Path
) -> None:
    result = await run(tmp_path, behave, "list")
    assert_one_line(result)
    assert f"system bus at unix:path={tmp_path}/fake: connection failed: " in result.err
    assert result.err.endswith("; check that dbus is running, or use --user\n"), reason


@pytest.mark.parametrize("behave", [row[0] for row in QUICK.values()], ids=QUICK)
async def test_failed_call_is_an_error_of_one_line(behave: Behaviour, tmp_path: Path) -> None:
    assert_one_line(await run(tmp_path, behave, "list"))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ["invalid UTF-8", "zeros", "closes in a body", "an error"])
async def test_every_command_survives_it(command: str, name: str, tmp_path: Path) -> None:
    assert_one_line(await run(tmp_path, QUICK[name][0], *command.split()))


def agent_answering(*replies: Callable[[int], bytes]) -> Behaviour:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        for one in replies:
            writer.write(one(await next_serial(reader)))
        await silence(reader, writer)

    return behave


def columns(data: bytes) -> Callable[[int], bytes]:
    return lambda serial: reply(serial, COLUMNS, data)


GOOD = body_of(COLUMNS, [{"Name": Variant("as", ["web"])}])


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        (columns(GOOD[:-1]), "call failed: body is not 'a{sv}'"),
        (columns(GOOD + bytes(8)), "call failed: body is not"),
        (columns(GOOD.replace(b"web", b"\xffeb")), "call failed: body is not"),
        (columns(b"\xff" * 64), "call failed: body is not"),
        (columns(GOOD.replace(b"\2as\0", b"\2a(\0")), "call failed: body is not"),
        (lambda serial: answer(serial, "s", ["web"]), "call failed: the reply is of type"),
        (lambda serial: answer(serial, "", []), "call failed: the reply is of type"),
    ],
    ids=["cut", "too long", "UTF-8", "ones", "signature", "a text", "nothing"],
)
async def test_list_that_is_not_readable_is_an_error(
    answers: Callable[[int], bytes], text: str, tmp_path: Path
) -> None:
    result = await run(tmp_path, agent_answering(answers), "list")
    assert_one_line(result)
    assert text in result.err


ALIKE: dict[str, Any] = {
    "Id": ["1"],
    "Name": ["web"],
    "Backend": ["docker"],
    "State": ["running"],
    "Stale": [False],
    "Health": ["none"],
    "ShortPorts": [[[8080, 80, "tcp"]]],
    "Addresses": [["10.0.0.1"]],
    "Announced": [["web.local"]],
}
SIGNATURES = {"Stale": "b", "ShortPorts": "a(qqs)", "Addresses": "as", "Announced": "as"}


def all_columns(**changed: Variant | None) -> Callable[[int], bytes]:
    """Return the reply of one instance; columns that are ``None`` are left out."""
    good = {name: Variant(f"a{SIGNATURES.get(name, 's')}", value) for name, value in ALIKE.items()}
    sent = {name: value for name, value in (good | changed).items() if value}
    return columns(body_of(COLUMNS, [sent]))


@pytest.mark.parametrize(
    "changed",
    [
        {"Id": None},
        {"Name": Variant("as", ["web", "shop"])},
        {"Name": Variant("au", [7])},
        {"Name": Variant("u", 7)},
        {"Stale": Variant("au", [1])},
        {"ShortPorts": Variant("a(s)", [["http"]])},
        {"ShortPorts": Variant("aau", [[80]])},
        {"Addresses": Variant("aau", [[80]])},
        {"Announced": Variant("a(ss)", [["a", "b"]]), "State": Variant("s", "running")},
    ],
    ids=str,
)
async def test_columns_of_other_types_or_lengths_are_an_error(
    changed: dict[str, Variant | None], tmp_path: Path
) -> None:
    result = await run(tmp_path, agent_answering(all_columns(**changed)), "list")
    assert_one_line(result)
    assert "malformed reply to GetColumns" in result.err


async def test_columns_that_are_not_known_are_left_out(tmp_path: Path) -> None:
    answers = agent_answering(all_columns(New=Variant("u", 7)))
    result = await run(tmp_path, answers, "list", "--no-legend")
    assert (result.code, result.err) == (0, "")
    assert result.out.split() == [
        *("web", "docker", "running", "none", "8080->80/tcp", "10.0.0.1", "web.local")
    ]


async def listed(folder: Path, objects: object, *arguments: str) -> Sequence[str]:
    """List with an agent that has no columns."""
    refused = {4: ("s", "org.freedesktop.DBus.Error.UnknownMethod")}
    answers = agent_answering(
        lambda serial: frame(3, {**refused, 5: ("u", serial)}, "s", ["no method GetColumns"]),
        lambda serial: reply(serial, MANAGED, body_of(MANAGED, [objects])),
    )
    result = await run(folder, answers, "list", *arguments)
    assert (result.code, result.err) == (0, "")
    return result.out.splitlines()


async def test_agent_of_another_version_is_listed_as_far_as_it_is_known(tmp_path: Path) -> None:
    port = {"container_port": Variant("q", 80), "new": Variant("s", "x")}
    objects = {
        "/a": {INSTANCE: {"Name": Variant("s", "a"), "Ports": Variant("aa{sv}", [port])}},
        "/b": {INSTANCE: {"New": Variant("as", ["Name"]), "Name": Variant("u", 7)}},
        "/c": {"other.Interface": {"Name": Variant("s", "c")}},
        "/d": {
            "other.Interface": {"Name": Variant("s", "no")},
            INSTANCE: {"State": Variant("s", "dreaming"), "Name": Variant("s", "d")},
        },
    }
    table = await listed(tmp_path, objects, "--no-legend", "--columns=name,state,ports,announced")
    assert [line.split() for line in table] == [
        ["-", "-", "-", "-"],
        ["a", "-", "80/", "-"],
        ["d", "dreaming", "-", "-"],
    ]


WRONG: dict[str, list[object]] = {
    "": [],
    "ss": ["a", "b"],
    "u": [7],
    "v": [Variant("as", ["x"])],
    "as": [["four", "sixsix"]],
    "au": [[1, 2]],
    "aau": [[[1, 2, 3, 4], [1, 2, 3, 4, 5, 6]]],
    "a{us}": [{1: "x"}],
    "a{su}": [{INSTANCE: 5}],
    "a{os}": [{"/i": INSTANCE}],
    "a{oa{su}}": [{"/i": {INSTANCE: 5}}],
}
"""Replies that are valid and that no method of the agent returns, by signature."""


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("signature", WRONG)
async def test_reply_of_another_type_is_an_error_of_one_line(
    command: str, signature: str, tmp_path: Path
) -> None:
    if (command, signature) == ("reload", ""):
        return  # this is the reply of Reload
    wrong = agent_answering(lambda serial: answer(serial, signature, WRONG[signature]))
    result = await run(tmp_path, wrong, *command.split())
    assert_one_line(result)
    assert f"the reply is of type '{signature}'" in result.err
