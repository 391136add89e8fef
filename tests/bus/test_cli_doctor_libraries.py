"""What the doctor says of a library that Python does not find."""

from pathlib import Path

import pytest

from koi_agent.cli.doctor import libraries
from koi_agent.cli.doctor.findings import Case

CASE = Case(scope="system", environment={})


@pytest.fixture(autouse=True)
def lacking(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(libraries, "NEEDED", {"koi-nothing": "python3-koi-nothing"})
    monkeypatch.setattr(libraries, "distributions", lambda: ["debian"])
    monkeypatch.setattr("sys.prefix", str(tmp_path))


async def missed() -> tuple[str, str, str]:
    _, one = await libraries.versions(CASE)
    return str(one.verdict), one.text, one.advice


async def test_debian_has_a_package_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "is_virtual", lambda: False)
    assert await missed() == (
        "fail",
        "koi-nothing is not installed",
        "apt install python3-koi-nothing",
    )


async def test_pipx_makes_its_environment_anew(tmp_path: Path) -> None:
    tmp_path.joinpath("pipx_metadata.json").touch()
    assert (await missed())[2] == "pipx reinstall koi-agent"


async def test_any_other_environment_has_its_pip() -> None:
    assert (await missed())[2].endswith("-m pip install koi-nothing")
