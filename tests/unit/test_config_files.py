"""The files that are read, their order, and the files that are refused."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from koi_agent.config import Flags, load
from koi_agent.config.files import DROP_INS, LARGEST, MAIN, files, trees
from koi_agent.core.errors import ConfigError
from tests.unit.home import Home

SYSTEM = (
    "/etc/koi-runtime",
    "/run/koi-runtime",
    "/usr/local/lib/koi-runtime",
    "/usr/lib/koi-runtime",
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


class Trees:
    """Three trees; tree 0 has the highest priority."""

    def __init__(self, folder: Path) -> None:
        self.folders = [folder / name for name in ("etc", "run", "usr")]

    def write(self, tree: int, name: str, text: str = "[Runtime]\n") -> str:
        path = self.path(tree, name)
        path.write_text(text)
        return str(path)

    def path(self, tree: int, name: str) -> Path:
        path = self.folders[tree] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def read(self) -> list[str]:
        found, warnings = files([str(folder) for folder in self.folders])
        assert not warnings
        return [file.path for file in found]


@pytest.fixture
def three(tmp_path: Path) -> Trees:
    return Trees(tmp_path)


def test_the_system_agent_reads_the_systems_trees_whatever_is_in_the_environment() -> None:
    assert trees("system", {"XDG_CONFIG_HOME": "/x", "HOME": "/h"}) == SYSTEM


@pytest.mark.parametrize(
    ("environment", "own", "runtime"),
    [
        ({"HOME": "/h"}, ["/h/.config/koi-runtime"], []),
        ({"HOME": "/h", "XDG_CONFIG_HOME": "/x"}, ["/x/koi-runtime"], []),
        ({"HOME": "/h", "XDG_CONFIG_HOME": "x"}, ["/h/.config/koi-runtime"], []),
        ({"HOME": "", "XDG_CONFIG_HOME": ""}, [], []),
        ({"XDG_RUNTIME_DIR": "/run/user/1"}, [], ["/run/user/1/koi-runtime"]),
        ({"XDG_RUNTIME_DIR": "run"}, [], []),
    ],
    ids=str,
)
def test_a_users_agent_reads_the_users_trees_and_never_the_system_agents(
    environment: dict[str, str], own: list[str], runtime: list[str]
) -> None:
    etc, run, *vendors = (f"{tree}/user" for tree in SYSTEM)
    assert trees("user", environment) == (*own, etc, *runtime, run, *vendors)


def test_the_main_file_of_the_highest_tree_replaces_the_others(three: Trees) -> None:
    low = three.write(2, MAIN)
    assert three.read() == [low]
    middle = three.write(1, MAIN)
    assert three.read() == [middle]


def test_drop_ins_come_after_the_main_file_by_their_name_whatever_their_tree(three: Trees) -> None:
    last = three.write(0, f"{DROP_INS}/90.conf")
    first = three.write(2, f"{DROP_INS}/10.conf")
    middle = three.write(1, f"{DROP_INS}/50.conf")
    main = three.write(0, MAIN)
    assert three.read() == [main, first, middle, last]


def test_of_one_name_the_highest_trees_drop_in_replaces_the_others(three: Trees) -> None:
    three.write(2, f"{DROP_INS}/10.conf")
    high = three.write(0, f"{DROP_INS}/10.conf")
    assert three.read() == [high]


@pytest.mark.parametrize("name", [MAIN, f"{DROP_INS}/10.conf"])
def test_an_empty_file_and_the_null_device_mask_those_below(name: str, three: Trees) -> None:
    three.write(2, name)
    three.path(1, name).symlink_to("/dev/null")
    assert three.read() == []
    three.path(1, name).unlink()
    three.write(0, name, "")
    assert three.read() == []


def test_other_names_than_conf_are_ignored(three: Trees) -> None:
    for name in (".hidden.conf", "10.conf~", "10.conf.dpkg-old", "README", ".conf"):
        three.write(0, f"{DROP_INS}/{name}", "[")
    assert three.read() == []


def test_a_broken_link_is_warned_about_and_the_next_tree_is_read(three: Trees) -> None:
    three.path(0, MAIN).symlink_to("/nowhere")
    low = three.write(2, MAIN)
    found, warnings = files([str(folder) for folder in three.folders])
    assert [file.path for file in found] == [low]
    assert warnings == [f"{three.folders[0] / MAIN}: broken link, ignored: /nowhere"]


def test_a_fifo_is_refused_without_blocking(home: Home) -> None:
    home.main.parent.mkdir()
    os.mkfifo(home.main)
    assert home.refused() == f"{home.main}: not a regular file"


def test_a_folder_a_device_and_a_file_instead_of_the_folder_are_refused(home: Home) -> None:
    path = home.drop_in("10.conf")
    path.unlink()
    path.mkdir()
    assert home.refused() == f"{path}: not a regular file"
    path.rmdir()
    path.symlink_to("/dev/zero")
    assert home.refused() == f"{path}: not a regular file"
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("")
    assert home.refused() == f"{path.parent}: cannot be read: Not a directory"


def test_a_link_to_itself_is_refused(home: Home) -> None:
    home.main.parent.mkdir()
    home.main.symlink_to(home.main)
    assert home.refused() == f"{home.main}: cannot be read: Too many levels of symbolic links"


@pytest.fixture
def unprivileged() -> Iterator[Callable[[], None]]:
    """A function that drops the privileges of root until the end of the test."""
    before = os.geteuid()
    yield lambda: os.seteuid(before or 65534)
    os.seteuid(before)


def test_a_folder_without_permission_is_refused(
    home: Home, unprivileged: Callable[[], None]
) -> None:
    home.write("[Runtime]")
    home.main.parent.chmod(0)
    unprivileged()
    assert home.refused() == f"{home.main}.d: cannot be read: Permission denied"


def test_a_file_may_have_a_mebibyte_and_not_a_byte_more(home: Home) -> None:
    home.write("[Runtime]", "#" * (LARGEST - len("[Runtime]\n")))
    assert home.load().files == (str(home.main),)
    with home.main.open("a") as file:
        file.write("#")
    assert home.refused() == f"{home.main}: file is larger than 1024 KiB"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[Runtime]\nLogLevel=\xff\n", "line 2 is not UTF-8"),
        (b"[Runtime\n", "line 1 has a section header without ]"),
    ],
)
def test_invalid_syntax_is_refused_with_its_line(content: bytes, reason: str, home: Home) -> None:
    home.write()
    home.main.write_bytes(content)
    assert home.refused() == f"{home.main}: {reason}"


def test_a_hostile_file_name_is_made_printable(home: Home) -> None:
    home.drop_in("\x1b[31m\n\udcff.conf", "[Runtime]", "LogLevel=loud")
    assert home.refused().startswith(
        f"{home.main}.d/\\x1b[31m\\x0a\\udcff.conf:2: [Runtime] LogLevel=: "
    )


def test_a_users_agent_works_without_a_home() -> None:
    assert load(Flags(scope="user"), {}).config.scope == "user"
    with pytest.raises(ConfigError):
        load(Flags(scope="user"), {"KOI_LOG_LEVEL": "loud"})
