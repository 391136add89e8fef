"""A user's agent from the wheel: installed by pip and install-units, and removed again."""

import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

from koi_agent.cli.install_units import DISABLE, PACKAGED, TARGETS
from koi_agent.core.dbus_names import MANAGER, NAME, ROOT
from tests.conftest import require
from tests.namespaces import CHECKOUT
from tests.world import World

NOT_SHIPPED = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "tests")
SDIST = "from setuptools import build_meta; build_meta.build_sdist('..')"
OFFLINE = ("--quiet", "--no-deps", "--no-index", "--disable-pip-version-check")
PIP = (sys.executable, "-m", "pip")
ACTIVATE = ("busctl", "--user", "call", NAME, ROOT, MANAGER, "ListInstances")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the files of the sdist only."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = shutil.copytree(CHECKOUT, folder / "tree", ignore=NOT_SHIPPED)
    subprocess.run([sys.executable, "-c", SDIST], cwd=tree, check=True)
    (sdist,) = folder.glob("*.tar.gz")
    build = [*PIP, "wheel", *OFFLINE, "--no-build-isolation", f"--wheel-dir={folder}", str(sdist)]
    subprocess.run(build, check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command in its own environment, in a folder whose name needs quoting."""
    if any(Path(folder, "koi-runtime.service").exists() for folder in PACKAGED[1:]):
        require("bare host", "koi-runtime is installed here for all users")
    top = tmp_path_factory.mktemp("pipx") / "my 100%n"
    venv.create(top, symlinks=True)
    install = [*PIP, f"--python={top}/bin/python", "install", *OFFLINE, str(wheel)]
    subprocess.run(install, check=True)
    (packages,) = top.glob("lib/python*/site-packages")
    packages.joinpath("needed.pth").write_text(sysconfig.get_path("platlib") + "\n")
    return top / "bin/koi-runtime"


@pytest.fixture
def user(world: World) -> Iterator[World]:
    """A world whose bus reads services below its home: dbus-daemon ignores HOME."""
    world.systemctl("set-environment", f"XDG_DATA_HOME={data(world)}")
    world.kill_bus()
    yield world
    world.systemctl("unset-environment", "XDG_DATA_HOME")


def data(world: World) -> Path:
    return world.home / ".local/share"


def koi_runtime(
    world: World, command: Path, *argv: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run the command with the code of its own environment."""
    env = {"PYTHONPATH": "", "XDG_DATA_HOME": str(data(world))}
    return world.run(command, *argv, "--user", env=env, check=check)


def run_next(world: World, output: str) -> None:
    world.run(*output.rpartition("Next, run: ")[2].split())


def state(world: World, unit: str) -> str:
    return world.systemctl("is-active", unit, check=False).stdout.strip()


def left(world: World) -> set[str]:
    """Return the files, units and activatable names of the agent that are left."""
    units = world.systemctl("list-units", "--all", "--plain", "--no-legend").stdout
    startable = world.run("busctl", "--user", "--activatable", "--no-legend", "list").stdout
    found = {line.split()[0] for line in (units + startable).splitlines()}
    folders = (world.home, Path(f"/proc/{world.pid}/root/run/user/0"))
    files = [path for folder in folders for path in folder.rglob("*") if not path.is_dir()]
    # Agents that other tests started leave their lock files.
    ours = {str(file) for file in files if "koi-runtime" in str(file) and file.suffix != ".lock"}
    return ours | {name for name in found if "koi" in name}


def test_the_wheel_has_all_data_files(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        carried = {name.partition(".data/data/share/")[2] for name in archive.namelist()}
        licenses = [name for name in archive.namelist() if name.endswith("/LICENSE")]
    assert carried - {""} == {
        *(f"koi-runtime/{name}" for name in TARGETS),
        "bash-completion/completions/koi-runtime",
        "fish/vendor_completions.d/koi-runtime.fish",
        "zsh/site-functions/_koi-runtime",
    }
    assert len(licenses) == 1


def test_the_agent_is_enabled_started_and_removed(user: World, command: Path) -> None:
    run_next(user, koi_runtime(user, command, "install-units").stdout)
    assert state(user, "koi-runtime.service") == "active"
    assert "running" in koi_runtime(user, command, "status").stdout
    started = user.systemctl("show", "--property=ExecStart", "koi-runtime").stdout
    assert f"path={command} " in started

    user.systemctl("stop", "koi-runtime.socket", "koi-runtime.service")
    assert "koi-runtime.service" in user.run(*ACTIVATE).stdout
    assert state(user, "koi-runtime.service") == "active"

    refused = koi_runtime(user, command, "install-units", "--remove", check=False)
    assert refused.stderr.endswith(f"first run: {DISABLE}\n")
    user.run(*DISABLE.split())
    run_next(user, koi_runtime(user, command, "install-units", "--remove").stdout)
    assert not left(user)


def test_units_for_all_users_are_not_overridden(world: World, command: Path) -> None:
    unit = "/etc/systemd/user/koi-runtime.service"
    script = f'mount -t tmpfs tmpfs /etc/systemd; mkdir /etc/systemd/user; >{unit}; exec "$0" "$@"'
    argv = (command, "install-units", "--user")
    refused = world.run(
        *("unshare", "--mount", "sh", "-ec", script), *argv, env={"PYTHONPATH": ""}, check=False
    )
    assert refused.returncode == 1
    assert f"{unit}: already installed for all users" in refused.stderr
    assert not left(world)
