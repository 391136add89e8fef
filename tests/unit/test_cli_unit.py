"""The log lines of a unit, by a journalctl that the test writes."""

from pathlib import Path

import pytest

from koi_agent.cli.unit import log_lines


@pytest.mark.parametrize(("scope", "option"), [("system", "--unit"), ("user", "--user-unit")])
def test_last_lines_of_the_unit_are_read_and_printable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scope: str, option: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert log_lines("web.service", scope) == []
    program = tmp_path / "journalctl"
    program.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\nprintf 'a\\033b\\n'\n")
    program.chmod(0o755)
    lines = log_lines("a;b.service", scope)
    assert lines[-2:] == [f"{option}=a;b.service", "a\\x1bb"]
    assert "--no-pager" in lines
