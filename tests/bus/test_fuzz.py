"""Calls every member with right and wrong bodies: only replies and known errors may come."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from koi_agent.bus.client import CallError, Connection, connected
from koi_agent.bus.variants import Variant
from tests.bus.small_tree import ITEM, ITEMS, MANAGER, NAME, ROOT, Tree, path_of, served
from tests.world.bus import PrivateBus

CALLS, AT_ONCE = 1600, 8
SEED = 7
GROWTH = 1.1
"""The factor by which the resident memory may grow while the second half of the calls is made."""
STANDARD = "org.freedesktop.DBus."
ALLOWED = {
    STANDARD + "Error." + name
    for name in (
        "AccessDenied",
        "Failed",
        "FileNotFound",
        "InvalidArgs",
        "LimitsExceeded",
        "PropertyReadOnly",
        "UnknownInterface",
        "UnknownMethod",
        "UnknownObject",
        "UnknownProperty",
    )
} | {"org.example.Root1.Refused"}
MEMBERS = {
    STANDARD + "Introspectable": {"Introspect": ""},
    STANDARD + "Peer": {"Ping": "", "GetMachineId": ""},
    STANDARD + "Properties": {"Get": "ss", "GetAll": "s", "Set": "ssv"},
    STANDARD + "ObjectManager": {"GetManagedObjects": ""},
    MANAGER: {"Echo": "sv", "Find": "a{sv}", "Refuse": "s", "Guarded": ""},
    ITEM: {},
    "": {"Echo": "sv", "Ping": "", "Get": "ss"},
    "no.such": {"Thing": "s"},
}
PATHS = ("/", "/org", ITEMS, ROOT, path_of(0), path_of(99), "/a/b")
NAMES = ("", MANAGER, ITEM, "Version", "State", "name", "é\t\x7f\u202e", "x" * 3000, "..", "%s%n")
BASIC = "ybnqiuxtdsog"


class Fuzzer:
    """Yields random calls, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def call(self) -> tuple[str, str, str, str, list[Any]]:
        """Return a path, an interface, a member, a signature and a body of it."""
        pick = self._random.choice
        interface = pick([*MEMBERS])
        members = MEMBERS[interface] or {"None": ""}
        member = pick([*members])
        signature = members[member]
        if pick((True, False, False)):
            signature = "".join(self._type(0) for _ in range(self._random.randrange(4)))
        values = [self._value(kind) for kind in complete_types(signature)]
        return pick(PATHS), interface, member, signature, values

    def _type(self, depth: int) -> str:
        if depth > 2 or self._random.random() < 0.5:
            return self._random.choice(BASIC + "v")
        inner = self._type(depth + 1)
        key = self._random.choice("sutx")
        return self._random.choice(["a" + inner, f"({inner}s)", f"a{{{key}{inner}}}"])

    def _value(self, kind: str) -> Any:
        match kind[0]:
            case "v":
                inner = self._type(1)
                return Variant(inner, self._value(inner))
            case "a" if kind == "ay":
                return self._random.randbytes(self._random.randrange(9))
            case "a" if kind[1] == "{":
                key, value = complete_types(kind[2:-1])
                return {self._value(key): self._value(value) for _ in range(3)}
            case "a":
                return [self._value(kind[1:]) for _ in range(self._random.randrange(4))]
            case "(":
                return [self._value(inner) for inner in complete_types(kind[1:-1])]
            case basic:
                return self._basic(basic)

    def _basic(self, kind: str) -> Any:
        match kind:
            case "s":
                return self._random.choice(NAMES)
            case "o":
                return self._random.choice(PATHS)
            case "g":
                return self._random.choice(["", "s", "a{sv}"])
            case "b":
                return self._random.random() < 0.5
            case "d":
                return self._random.choice([0.0, -1.5, float("inf")])
            case _:
                return self._random.choice([0, 1, 127])


def complete_types(signature: str) -> Iterator[str]:
    """Yield the complete types of a signature."""
    at = 0
    while at < len(signature):
        start, depth = at, 0
        while True:
            token = signature[at]
            depth += (token in "({") - (token in ")}")
            at += 1
            if not depth and token != "a":
                break
        yield signature[start:at]


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def refusal(
    link: Connection, drawn: tuple[str, str, str, str, list[Any]]
) -> CallError | None:
    path, interface, member, signature, body = drawn
    try:
        await link.call((NAME, path, interface), member, signature, body, within=5)
    except CallError as error:
        return error
    return None


async def one(link: Connection, drawn: tuple[str, str, str, str, list[Any]]) -> None:
    if error := await refusal(link, drawn):
        assert error.name in ALLOWED, drawn
        assert "Traceback" not in str(error)
        assert ".py" not in str(error)


async def test_no_call_breaks_the_server(bus: PrivateBus, caplog: pytest.LogCaptureFixture) -> None:
    fuzzer = Fuzzer(SEED)
    async with served(bus.address, Tree()) as ours, connected(bus.address) as link:
        for _ in range(200):
            await one(link, fuzzer.call())
        sizes = []
        for _ in range(2):
            for _ in range(CALLS // 2 // AT_ONCE):
                async with asyncio.TaskGroup() as group:
                    for _ in range(AT_ONCE):
                        group.create_task(one(link, fuzzer.call()))
            sizes.append(resident())
        assert sizes[1] < GROWTH * sizes[0]
        assert not ours.closed
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
