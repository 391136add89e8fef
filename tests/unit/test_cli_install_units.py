"""``install-units`` writes the units of a user's agent to its folders, and removes them."""

import json
import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

from koi_agent.cli.commands import FAILURE, USAGE, execute
from koi_agent.cli.install_units import DISABLE, ENABLE, MARK, PACKAGED, TARGETS
from koi_agent.core.unit_file.syntax import parse, words
from tests.conftest import require

CHECKOUT = Path(__file__).parents[2]
SERVICE = "config/systemd/user/koi-runtime.service"
SOCKET = "config/systemd/user/koi-runtime.socket"
ACTIVATION = "data/dbus-1/services/org.sylin.koi.Runtime1.service"
FILES = (SERVICE, SOCKET, ACTIVATION)
SOURCES = {name: CHECKOUT / "systemd/user" / Path(name).name for name in (SERVICE, SOCKET)} | {
    ACTIVATION: CHECKOUT / "packaging" / Path(ACTIVATION).name
}
COMMAND = ("-m", "koi_agent", "install-units", "--user")


def environment(top: Path) -> Path:
    """Create a virtual environment with the code and the command, but without data files."""
    venv.create(top, symlinks=True)
    (packages,) = top.glob("lib/python*/site-packages")
    packages.joinpath("koi.pth").write_text("\n".join([str(CHECKOUT), *sys.path]))
    top.joinpath("bin/koi-runtime").touch()
    return top


def with_data_files(top: Path) -> Path:
    """Add the data files of the wheel to an environment."""
    project = tomllib.loads(CHECKOUT.joinpath("pyproject.toml").read_text())
    for folder, patterns in project["tool"]["setuptools"]["data-files"].items():
        top.joinpath(folder).mkdir(parents=True)
        for source in (path for pattern in patterns for path in CHECKOUT.glob(pattern)):
            top.joinpath(folder, source.name).symlink_to(source)
    return top


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment as pipx creates it, in a folder whose name needs quoting."""
    if any(Path(folder, "koi-runtime.service").exists() for folder in PACKAGED):
        require("bare host", "koi-runtime is installed here for all users")
    return with_data_files(environment(tmp_path_factory.mktemp("pipx") / "my 100%n $HOME"))


def run(top: Path, home: Path, *argv: str, **other: str) -> subprocess.CompletedProcess[str]:
    named = {"XDG_CONFIG_HOME": str(home / "config"), "XDG_DATA_HOME": str(home / "data")}
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"} | named | other
    command = [str(top / "bin/python"), *COMMAND, *argv]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def done(top: Path, home: Path, *argv: str) -> str:
    """Run the command, which must succeed; return its output."""
    ended = run(top, home, *argv)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def refused(top: Path, home: Path, *argv: str) -> str:
    """Run the command, which must fail; return its error of one line."""
    ended = run(top, home, *argv)
    assert (ended.returncode, ended.stdout) == (FAILURE, "")
    assert ended.stderr.startswith("koi-runtime: ")
    assert ended.stderr.count("\n") == 1
    return ended.stderr


def written(home: Path) -> list[str]:
    """Return all files below a folder, including links and temporary files."""
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if not path.is_dir())


def put(file: Path, data: bytes = MARK) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


def test_each_file_is_written_and_listed_with_the_next_command(
    installed: Path, tmp_path: Path
) -> None:
    lines = done(installed, tmp_path).splitlines()
    assert lines == [*(f"written {tmp_path / name}" for name in FILES), "", f"Next, run: {ENABLE}"]
    assert written(tmp_path) == sorted(FILES)
    for name in FILES:
        assert tmp_path.joinpath(name).stat().st_mode & 0o777 == 0o644, name


def test_files_are_those_of_make_install_except_for_the_command(
    installed: Path, tmp_path: Path
) -> None:
    done(installed, tmp_path)
    for name, source in SOURCES.items():
        mark, *rest = tmp_path.joinpath(name).read_bytes().splitlines()
        assert mark + b"\n" == MARK
        there = source.read_bytes().splitlines()
        different = [new for new, old in zip(rest, there, strict=True) if new != old]
        assert [line.split(b"=")[0] for line in different] == (
            [b"ExecStart"] if name == SERVICE else []
        )


def test_the_unit_starts_the_command_beside_the_interpreter(
    installed: Path, tmp_path: Path
) -> None:
    done(installed, tmp_path)
    entries = parse(tmp_path.joinpath(SERVICE).read_bytes()).entries
    (command,) = [entry.value for entry in entries if entry.key == "ExecStart"]
    program = str(installed / "bin/koi-runtime").replace("%", "%%")
    assert list(words(command)) == [program, "run", "--user"]


@pytest.mark.parametrize("folder", ["", "here/it/is"])
def test_without_variables_the_default_folders_are_used(
    folder: str, installed: Path, tmp_path: Path
) -> None:
    run(installed, tmp_path, XDG_CONFIG_HOME=folder, XDG_DATA_HOME=folder)
    config, data = ".config/systemd/user", ".local/share/dbus-1/services"
    assert written(tmp_path) == [
        f"{config}/koi-runtime.service",
        f"{config}/koi-runtime.socket",
        f"{data}/org.sylin.koi.Runtime1.service",
    ]


def test_without_a_home_nothing_is_written(installed: Path, tmp_path: Path) -> None:
    ended = run(installed, tmp_path, HOME="", XDG_CONFIG_HOME="")
    assert (ended.returncode, ended.stderr.count("\n")) == (FAILURE, 1)
    assert "neither XDG_CONFIG_HOME nor HOME" in ended.stderr
    assert not written(tmp_path)


def test_files_that_are_up_to_date_are_not_written(installed: Path, tmp_path: Path) -> None:
    done(installed, tmp_path)
    before = [tmp_path.joinpath(name).stat().st_ino for name in FILES]
    lines = done(installed, tmp_path).splitlines()
    assert lines[:3] == [f"unchanged {tmp_path / name}" for name in FILES]
    assert [tmp_path.joinpath(name).stat().st_ino for name in FILES] == before


def test_files_of_an_older_version_are_replaced(installed: Path, tmp_path: Path) -> None:
    done(installed, tmp_path)
    old = put(tmp_path / SOCKET)
    assert f"written {old}\n" in done(installed, tmp_path)
    assert b"ListenStream=" in old.read_bytes()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("argv", [(), ("--remove",)], ids=["install", "remove"])
def test_a_foreign_file_is_refused_before_anything_is_done(
    name: str, argv: tuple[str, ...], installed: Path, tmp_path: Path
) -> None:
    mine = [put(tmp_path / other) for other in FILES if other != name]
    foreign = put(tmp_path / name, b"[Service]\n")
    assert str(foreign) in refused(installed, tmp_path, *argv)
    assert foreign.read_bytes() == b"[Service]\n"
    assert all(file.read_bytes() == MARK for file in mine)
    assert written(tmp_path) == sorted(FILES)


@pytest.mark.parametrize("to", [os.devnull, "elsewhere", "nowhere"])
def test_a_link_is_neither_followed_nor_replaced(to: str, installed: Path, tmp_path: Path) -> None:
    elsewhere = put(tmp_path / "elsewhere")
    link = put(tmp_path / SERVICE)
    link.unlink()
    link.symlink_to(tmp_path / to)
    assert str(link) in refused(installed, tmp_path)
    assert str(link) in refused(installed, tmp_path, "--remove")
    assert elsewhere.read_bytes() == MARK
    assert written(tmp_path) == sorted([SERVICE, "elsewhere"])


def test_a_temporary_link_of_a_killed_run_is_not_followed(installed: Path, tmp_path: Path) -> None:
    victim = put(tmp_path / "victim", b"precious")
    left = put(tmp_path / SERVICE).with_name(".koi-runtime.service.new")
    left.symlink_to(victim)
    done(installed, tmp_path)
    assert victim.read_bytes() == b"precious"
    assert written(tmp_path) == sorted([*FILES, "victim"])


def test_no_file_is_written_if_one_cannot_be_written(installed: Path, tmp_path: Path) -> None:
    put(tmp_path / "data", b"")
    assert str(tmp_path / "data") in refused(installed, tmp_path)
    assert written(tmp_path) == ["data"]


def test_json_lists_what_was_done(installed: Path, tmp_path: Path) -> None:
    records = [{"file": str(tmp_path / name), "done": "written"} for name in FILES]
    assert json.loads(done(installed, tmp_path, "--json=short")) == records
    assert done(installed, tmp_path, "--remove", "--no-legend").count("\n") == len(FILES)


def test_remove_deletes_all_files_and_prints_the_next_command(
    installed: Path, tmp_path: Path
) -> None:
    done(installed, tmp_path)
    lines = done(installed, tmp_path, "--remove").splitlines()
    assert lines[:3] == [f"removed {tmp_path / name}" for name in FILES]
    assert lines[-1] == "Next, run: systemctl --user daemon-reload"
    assert not written(tmp_path)
    assert done(installed, tmp_path, "--remove") == "Nothing to remove.\n"


def test_enabled_units_are_not_removed(installed: Path, tmp_path: Path) -> None:
    done(installed, tmp_path)
    link = put(tmp_path / SERVICE).parent / "default.target.wants/koi-runtime.service"
    link.parent.mkdir()
    link.symlink_to(tmp_path / SERVICE)
    assert DISABLE in refused(installed, tmp_path, "--remove")
    assert len(written(tmp_path)) == len(FILES) + 1


def test_an_installation_without_units_is_refused(tmp_path: Path) -> None:
    bare = environment(tmp_path / "editable")
    error = refused(bare, tmp_path / "home")
    assert f"{bare}/share/koi-runtime/{next(iter(TARGETS))}" in error
    assert "pipx" in error


@pytest.mark.parametrize("folder", ["o'hara", 'a"b', "a\\b", "a\tb"])
def test_a_path_that_systemd_does_not_accept_is_refused(folder: str, tmp_path: Path) -> None:
    odd = with_data_files(environment(tmp_path / folder))
    assert "systemd does not start a program" in refused(odd, tmp_path / "home")
    assert not tmp_path.joinpath("home").exists()


@pytest.mark.parametrize("argv", [("--system",), ("--system", "--remove")])
def test_the_units_of_the_system_are_refused(
    argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["install-units", *argv], lambda _load, _loaded: 0) == USAGE
    printed = capsys.readouterr()
    assert "make install" in printed.err
    assert (printed.out, printed.err.count("\n")) == ("", 1)


def test_folders_of_another_user_are_refused(installed: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        require("root", "a folder can't be given away")
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 1, 1)
    done = run(installed, home)
    assert (done.returncode, done.stdout) == (FAILURE, "")
    assert f"{home}: owned by another user" in done.stderr
    assert not list(home.iterdir())
