"""``run`` starts the agent with the configuration that options and environment override."""

import logging
import os
import socket
from pathlib import Path

import pytest

from koi_agent.cli.commands import USAGE, execute
from koi_agent.cli.run import Load
from koi_agent.config import Config, Loaded
from koi_agent.core.errors import ConfigError
from tests.unit.home import Home

ALL = ("docker", "podman", "incus", "lxd", "systemd", "machined")
WRITE = f"write {', '.join(ALL)}"


class Agent:
    """Replaces the agent, and records how it was started."""

    loaded: Loaded | None = None
    load: Load | None = None

    def run(self, load: Load, loaded: Loaded) -> int:
        self.load, self.loaded = load, loaded
        return 7


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Home:
    """The configuration files of a user; no variable of the agent is set."""
    for name in ("KOI_RUNTIME", "KOI_NO_RUNTIME", "KOI_LOG_LEVEL", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return Home(tmp_path)


def started(*argv: str) -> Config:
    agent = Agent()
    assert execute(["run", "--user", *argv], agent.run) == 7
    assert agent.loaded is not None
    return agent.loaded.config


def refused(capsys: pytest.CaptureFixture[str], *argv: str, code: int = USAGE) -> str:
    agent = Agent()
    assert execute(["run", "--user", *argv], agent.run) == code
    assert agent.loaded is None
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_without_options_all_backends_are_followed() -> None:
    config = started()
    assert config.backends == ALL
    assert config.log_level == logging.INFO


@pytest.mark.parametrize(
    ("typed", "followed"),
    [
        ("auto", ALL),
        ("auto,systemd", ALL),
        ("systemd", ("systemd",)),
        (" SystemD ", ("systemd",)),
        ("systemd,systemd", ("systemd",)),
        ("Podman,docker", ("podman", "docker")),
        ("LXC,lxd", ("incus", "lxd")),
    ],
)
def test_runtimes_ignore_case_and_repetition(typed: str, followed: tuple[str, ...]) -> None:
    assert started(f"--runtime={typed}").backends == followed


@pytest.mark.parametrize("typed", ["bhyve", "", "systemd,", "docker.sock"])
def test_an_unknown_runtime_is_refused_with_the_accepted_names(
    typed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(capsys, f"--runtime={typed}")
    assert error.endswith(f"write auto, {', '.join(ALL)}\n")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("kubernetes", "kubernetes"),
        ("k8s", "kubernetes"),
        ("systemd,K8s", "kubernetes"),
    ],
)
def test_a_planned_runtime_is_refused_by_its_name(
    typed: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(capsys, f"--runtime={typed}")
    assert f"{meant} is not supported by this version; {WRITE}" in error


def test_options_override_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KOI_RUNTIME", "bhyve")
    monkeypatch.setenv("KOI_LOG_LEVEL", "debug")
    assert "KOI_RUNTIME: 'bhyve'" in refused(capsys, code=os.EX_CONFIG)
    assert started("--runtime=systemd").log_level == logging.DEBUG
    assert started("--runtime=systemd", "--log-level=err").log_level == logging.ERROR


def test_an_empty_variable_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KOI_RUNTIME", "KOI_NO_RUNTIME", "KOI_LOG_LEVEL"):
        monkeypatch.setenv(name, "")
    assert started().backends == ALL


def test_no_backend_is_followed_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    assert started("--no-runtime").backends == ()
    monkeypatch.setenv("KOI_NO_RUNTIME", "yes")
    assert started().backends == ()
    monkeypatch.setenv("KOI_NO_RUNTIME", "no")
    assert started().backends == ALL


def test_an_invalid_variable_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KOI_NO_RUNTIME", "perhaps")
    assert "KOI_NO_RUNTIME: 'perhaps' is not a boolean" in refused(capsys, code=os.EX_CONFIG)


def test_an_unknown_level_is_refused_with_the_accepted_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = refused(capsys, "--log-level=loud")
    assert "--log-level: 'loud' is not a log level; write emerg, alert, crit, err," in error


@pytest.mark.parametrize("scope", ["system", "user"])
def test_the_scope_is_the_requested_one(scope: str) -> None:
    agent = Agent()
    assert execute(["run", f"--{scope}"], agent.run) == 7
    assert agent.loaded is not None
    assert agent.loaded.config.scope == scope


def test_files_count_without_options_and_variables(home: Home) -> None:
    home.write("[Runtime]", "LogLevel=debug", "Backends=none")
    assert started().log_level == logging.DEBUG
    assert started().backends == ()
    assert started("--runtime=systemd").backends == ("systemd",)


def test_an_invalid_file_is_an_error_of_one_line(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    home.write("[Runtime]", "ResyncInterval=soon")
    error = refused(capsys, code=os.EX_CONFIG)
    assert f"{home.main}:2: [Runtime] ResyncInterval=: 'soon' is not a time span" in error


def test_a_reload_keeps_the_options(home: Home) -> None:
    agent = Agent()
    assert execute(["run", "--user", "--runtime=systemd"], agent.run) == 7
    assert agent.load is not None
    assert agent.load() == agent.loaded
    home.write("[Runtime]", "ResyncInterval=2min", "Backends=none")
    again = agent.load().config
    assert (again.resync_interval, again.backends) == (120.0, ("systemd",))
    home.write("[Runtime]", "ResyncInterval=soon")
    with pytest.raises(ConfigError, match=f"{home.main}:2: "):
        agent.load()


def test_systemd_gets_the_reason_of_a_failed_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(1)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("KOI_LOG_LEVEL", "loud")
        reason = refused(capsys, code=os.EX_CONFIG).removeprefix("koi-runtime: ").strip()
        assert manager.recv(4096).decode().split("\n") == [f"STATUS={reason}", "ERRNO=22"]
