"""The doctor's check of libraries: the advice for one that is not installed."""

from pathlib import Path

import pytest

from koi_agent.cli.doctor import libraries
from koi_agent.cli.doctor.findings import Case, Host


def missing(host: Host) -> tuple[str, str, str]:
    """Return verdict, text and advice for a library that is not installed."""
    case = Case(scope="system", environment={}, host=host)
    _, one = libraries.findings(case, {"koi-nothing": "python3-koi-nothing"})
    return str(one.verdict), one.text, one.advice


def test_debian_has_a_package() -> None:
    assert missing(Host(distributions=["debian"])) == (
        "fail",
        "koi-nothing is not installed",
        "apt install python3-koi-nothing",
    )


@pytest.mark.parametrize("distributions", [["debian"], []])
def test_pipx_reinstalls_its_environment(distributions: list[str], tmp_path: Path) -> None:
    tmp_path.joinpath("pipx_metadata.json").touch()
    host = Host(distributions=distributions, environment=tmp_path)
    assert missing(host)[2] == "pipx reinstall koi-agent"


def test_another_environment_has_its_own_pip(tmp_path: Path) -> None:
    host = Host(distributions=["debian"], environment=tmp_path)
    assert missing(host)[2] == f"{tmp_path}/bin/python -m pip install koi-nothing"


def test_another_distribution_gets_the_advice_of_its_package() -> None:
    assert missing(Host(distributions=["arch"]))[2].startswith("pacman -U ")
