"""The reader of unit files compared with systemd's own, on random files."""

import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from koi_agent.backends.systemd.merged_file import UnitFile
from koi_agent.backends.systemd.unit_files import UnitFileReader
from koi_agent.core.errors import BadInput
from koi_agent.core.unit_file.specifiers import expand
from koi_agent.core.unit_file.syntax import Entry, parse
from koi_agent.host.identity import specifiers
from tests.world import World

RUNTIME = "/run/user/0"
SPECIFIERS = specifiers("user", {"XDG_RUNTIME_DIR": RUNTIME})
UNITS = "/org/freedesktop/systemd1/unit/"
SECTIONS = ["[Unit]", "[Service]", "[X-Other]", "[]", " [Service] "]
VALUES = [
    "a",
    " b  c ",
    "",
    "%n|%N|%p|%P|%i|%I|%j|%J|%%|% |%",
    "x\\\\",
    "=y=",
    "#z",
    "ü 🧀",
    '"q r" s',
    "[Unit]",
    "\\t\\x41",
]
WORDS = [
    "KOI_MDNS_ANNOUNCE=a",
    '"KOI_MDNS_ANNOUNCE=b c"',
    "KOI_MDNS_ANNOUNCE='d e'f",
    "'KOI_MDNS_ANNOUNCE=%p %% %i'",
    r"KOI_MDNS_ANNOUNCE=\x41\102\u00e9\s\t",
    r"KOI_MDNS_ANNOUNCE=\q",
    r"KOI_MDNS_ANNOUNCE=\xff",
    "KOI_MDNS_ANNOUNCE",
    "KOI_MDNS_ANNOUNCE=",
    '"open',
    "A=b",
    "",
]
NETWORK = ["yes", "no", "", "TRUE", "off", "maybe", "/run/netns/a", "relative", "%t/a", "/a"]
NOISE = ["# c", " ; c \\", "", "no assignment", "=x", "\\", "b", " c \\", "# caf\udce9"]
ENDS = ["\n"] * 8 + ["\r\n", "\\\n", "\\\n", "\\\n# in it\n", "\\ \n", "\0", "\r", "\\\r\n"]


def line(rng: random.Random) -> str:
    kind = rng.randrange(8)
    if kind == 0:
        return rng.choice(SECTIONS)
    if kind == 1:
        return rng.choice(NOISE)
    if kind in {2, 3}:
        key = rng.choice(["Description=", "Description = ", " Description=", "description="])
        return key + rng.choice(VALUES)
    if kind in {4, 5}:
        return "Environment=" + " ".join(rng.choices(WORDS, k=rng.randrange(3)))
    return rng.choice(["PrivateNetwork=", "NetworkNamespacePath="]) + rng.choice(NETWORK)


def text(rng: random.Random) -> bytes:
    made = rng.choice(["", "", "\ufeff"]) + rng.choice(["", "[Unit]\n", "[Service]\n"])
    for _ in range(rng.randrange(14)):
        made += line(rng) + rng.choice(ENDS)
    if rng.randrange(30) == 0:
        made += rng.choice(
            [
                "\n[Unit\n",
                '\n[Un"it]\n',
                "\n[Unit]\nDescription=a\\\n\n[\n",
                "\n[Unit]\nDescription=\udcff\n",
            ]
        )
    return made.encode(errors="surrogateescape")


def escaped(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):02x}" for c in name)


def asked(world: World, unit: str, interface: str, *names: str) -> list[object]:
    command = ["busctl", f"--address={world.bus_address}", "--json=short", "get-property"]
    command += ["org.freedesktop.systemd1", UNITS + escaped(unit)]
    command += [f"org.freedesktop.systemd1.{interface}", *names]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [json.loads(answer)["data"] for answer in done.stdout.splitlines()]


def paths_of(world: World, unit: str) -> list[str]:
    fragment, drop_ins = asked(world, unit, "Unit", "FragmentPath", "DropInPaths")
    assert isinstance(drop_ins, list)
    return [str(fragment), *drop_ins]


def of_systemd(world: World, unit: str) -> tuple[object, object, bool]:
    (description,) = asked(world, unit, "Unit", "Description")
    names = ("Environment", "PrivateNetwork", "NetworkNamespacePath")
    environment, private, namespace = asked(world, unit, "Service", *names)
    assert isinstance(environment, list)
    announce = [one for one in environment if one.startswith("KOI_MDNS_ANNOUNCE=")]
    return description, announce, bool(private or namespace)


def of_ours(unit: str, paths: list[str]) -> tuple[object, object, bool]:
    file = UnitFileReader(SPECIFIERS).read(unit, paths[0], paths[1:])
    description = ""
    for entry in entries(paths):
        if (entry.section, entry.key) == ("Unit", "Description"):
            description = expand(entry.value, unit, SPECIFIERS)[0]
    announce = [f"{name}={value}" for name, value in file.environment]
    return description or unit, announce, file.private_network


def entries(paths: list[str]) -> Iterator[Entry]:
    for path in paths:
        yield from parse(Path(path).read_bytes()).entries


def is_readable(path: Path) -> bool:
    try:
        parse(path.read_bytes())
    except BadInput:
        return False
    return True


@pytest.fixture
def made(world: World) -> list[str]:
    rng = random.Random(20)
    units: list[str] = []
    for number in range(150):
        stem = f"d{number}-x"
        unit, template = f"{stem}.service", f"{stem}.service"
        if number % 3 == 0:
            unit, template = f"{stem}@i-j\\x2dk.service", f"{stem}@.service"
        world.unit(template, "").write_bytes(text(rng))
        world.drop_in(template, "a.conf", "").write_bytes(text(rng))
        world.drop_in(template, "z.conf", "[Service]\nExecStart=true\n")
        units.append(unit)
    world.reload()
    return units


def test_both_read_the_same(world: World, made: list[str]) -> None:
    compared = 0
    for unit in made:
        paths = paths_of(world, unit)
        if not all(is_readable(Path(path)) for path in paths):
            continue
        texts = [Path(path).read_bytes() for path in paths]
        assert of_ours(unit, paths) == of_systemd(world, unit), texts
        compared += 1
    assert compared > len(made) * 0.6


def test_fragment_we_refuse_is_refused_by_systemd(world: World, made: list[str]) -> None:
    refused = 0
    for unit in made:
        path = world.units / (unit.partition("@")[0] + "@.service" if "@" in unit else unit)
        (state,) = asked(world, unit, "Unit", "LoadState")
        assert (state == "error") == (not is_readable(path)), path.read_bytes()
        refused += state == "error"
    assert refused


def test_linked_and_masked_units_read_as_systemd_has_them(world: World, tmp_path: Path) -> None:
    source = tmp_path / "linked.service"
    source.write_text("[Unit]\nX-Koi-Enable=yes\n[Service]\nExecStart=true\n")
    world.systemctl("link", str(source))
    world.unit("masked.service", "").unlink()
    world.systemctl("mask", "masked.service")
    linked, masked = (paths_of(world, unit) for unit in ("linked.service", "masked.service"))
    assert UnitFileReader(SPECIFIERS).read("linked.service", linked[0]).assignments
    assert UnitFileReader(SPECIFIERS).read("masked.service", masked[0]) == UnitFile()
