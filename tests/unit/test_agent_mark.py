"""The mark of an agent on what outlives it."""

from pathlib import Path

import pytest

from koi_agent.host.agent_mark import agent_mark

ONE = "0123456789abcdef0123456789abcdef"


def mark(directory: Path, scope: str, machine: str) -> str:
    (directory / "machine-id").write_text(f"{machine}\n")
    return agent_mark(scope, directory / "machine-id")


def test_each_machine_and_user_has_its_own(tmp_path: Path) -> None:
    marks = {mark(tmp_path, scope, id_) for scope in ("system", "user") for id_ in (ONE, ONE[::-1])}
    assert len(marks) == 4
    assert {len(one) for one in marks} == {16}


def test_it_stays_and_hides_the_machine(tmp_path: Path) -> None:
    assert mark(tmp_path, "system", ONE) == mark(tmp_path, "system", ONE) == "e7de960c8bf2409d"
    assert ONE[:4] not in mark(tmp_path, "system", ONE)


@pytest.mark.parametrize("text", ["", "uninitialized", "0123"])
def test_a_machine_without_an_identifier_has_none(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="machine-id"):
        mark(tmp_path, "system", text)
