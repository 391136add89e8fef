"""How the agent is started: flags over environment over what is usual."""

import logging

import pytest

from koi_agent.cli.commands import FAILURE, USAGE, execute
from koi_agent.config import Config
from koi_agent.core.errors import ConfigError


class Agent:
    """Stands where the agent would be, and remembers how it was started."""

    config: Config | None = None

    def be(self, config: Config) -> int:
        self.config = config
        return 7


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    for name in ("KOI_RUNTIME", "KOI_NO_RUNTIME", "KOI_LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)


def started(*argv: str) -> Config:
    agent = Agent()
    assert execute(["run", *argv], agent.be) == 7
    assert agent.config is not None
    return agent.config


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    agent = Agent()
    assert execute(["run", *argv], agent.be) == USAGE
    assert agent.config is None
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_without_a_word_it_follows_all_it_can() -> None:
    config = started()
    assert config.backends == ("systemd",)
    assert config.log_level == logging.INFO


@pytest.mark.parametrize(
    "asked", ["auto", "systemd", " SystemD ", "systemd,systemd", "auto,systemd"]
)
def test_runtimes_are_named_in_any_case_and_once(asked: str) -> None:
    assert started(f"--runtime={asked}").backends == ("systemd",)


@pytest.mark.parametrize("asked", ["bhyve", "", "systemd,", "docker.sock"])
def test_a_runtime_nobody_knows_is_refused_with_those_accepted(
    asked: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(capsys, f"--runtime={asked}")
    assert "accepted: auto, docker, podman, systemd, incus, kubernetes" in error


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("docker", "docker"),
        ("podman", "podman"),
        ("incus", "incus"),
        ("LXC", "incus"),
        ("lxd", "incus"),
        ("kubernetes", "kubernetes"),
        ("k8s", "kubernetes"),
        ("systemd,K8s", "kubernetes"),
    ],
)
def test_a_runtime_that_can_not_be_followed_yet_is_refused_by_its_name(
    asked: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(capsys, f"--runtime={asked}")
    assert f"can't follow {meant} yet; it can follow: systemd" in error


def test_the_environment_speaks_where_no_flag_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KOI_RUNTIME", "bhyve")
    monkeypatch.setenv("KOI_LOG_LEVEL", "debug")
    assert "KOI_RUNTIME: 'bhyve'" in refused(capsys)
    assert started("--runtime=systemd").log_level == logging.DEBUG
    assert started("--runtime=systemd", "--log-level=err").log_level == logging.ERROR


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KOI_RUNTIME", "KOI_NO_RUNTIME", "KOI_LOG_LEVEL"):
        monkeypatch.setenv(name, "")
    assert started().backends == ("systemd",)


def test_it_can_be_told_to_follow_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert started("--no-runtime").backends == ()
    monkeypatch.setenv("KOI_NO_RUNTIME", "yes")
    assert started().backends == ()
    monkeypatch.setenv("KOI_NO_RUNTIME", "no")
    assert started().backends == ("systemd",)


def test_a_variable_that_can_not_be_read_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KOI_NO_RUNTIME", "perhaps")
    assert "KOI_NO_RUNTIME: 'perhaps' is no boolean" in refused(capsys)


def test_a_level_nobody_knows_is_refused_with_those_accepted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = refused(capsys, "--log-level=loud")
    assert (
        "--log-level: 'loud' is no log level; accepted: debug, info, notice, warning, err" in error
    )


@pytest.mark.parametrize("scope", ["system", "user"])
def test_the_scope_is_as_asked(scope: str) -> None:
    assert started(f"--{scope}").scope == scope


def test_an_agent_that_can_not_start_is_a_failure_in_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_config: Config) -> int:
        raise ConfigError("no user bus")

    assert execute(["run"], fail) == FAILURE
    assert capsys.readouterr().err == "koi-runtime: no user bus\n"
