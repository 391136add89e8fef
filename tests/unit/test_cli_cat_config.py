"""What is set, and who set it: written as a file that says the same."""

import json
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from koi_agent.cli.commands import FAILURE, USAGE, execute
from koi_agent.config import KEYS, Key, Loaded
from tests.unit.home import Home

VALUES = {
    "Backends": ["auto", "systemd", "none", "systemd, auto"],
    "ResyncInterval": ["1", "1.5min", "1h 2s"],
    "LogLevel": ["debug", "Err"],
    "StaleAfter": ["0", "90s", "2d"],
    "MDNS": ["off", "Avahi"],
    "PartnerLabels": ["no", "true"],
    "Health": ["off", "auto"],
    "Interval": ["1s", "5min"],
    "Timeout": ["1", "1min"],
    "UnhealthyAfter": ["1", "100"],
    "WithdrawUnhealthy": ["no", "1"],
    "Units": ["*", "a.service", "'b.service' c*", r"d-\x2d.service"],
    "RestartGrace": ["0", "500ms", "1min"],
    "Socket": ["/run/docker.sock", "unix:///run/user/1000/docker.sock"],
    "ExcludeUnits": ["*", "a.service\t'b.service'"],
    "TrackExited": ["yes", "off", "1"],
    "Listen": ["8080", "*:80", "'/run/a b.sock' [::1]:81", r"/run/\x41"],
}
QUIET = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("KOI_RUNTIME", "KOI_NO_RUNTIME", "KOI_LOG_LEVEL", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    return Home(tmp_path)


def written(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert execute(["cat-config", "--user", *argv], never) == 0
    return capsys.readouterr().out


def never(*_: object) -> int:
    raise AssertionError("no agent is needed")


def lines_of(row: Key) -> st.SearchStrategy[list[tuple[Key, str]]]:
    """Assign to a key some times, now and then nothing."""
    values = st.sampled_from(["", *VALUES[row.key]])
    return st.lists(values.map(lambda value: (row, value)), max_size=3)


ASSIGNMENTS = (
    st.tuples(*map(lines_of, KEYS)).map(lambda rows: [*chain(*rows)]).flatmap(st.permutations)
)


@QUIET
@given(said=ASSIGNMENTS, split=st.integers(0, 20))
def test_what_is_written_says_the_same_when_it_is_read(
    said: list[tuple[Key, str]], split: int, home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    text = [f"[{row.section}]\n{row.key}={value}" for row, value in said]
    home.write(*text[:split])
    other = home.drop_in("10-other.conf", *text[split:])
    loaded = home.load()
    paste = written(capsys)
    other.unlink()
    home.write(paste)
    assert home.load().config == loaded.config
    assert values(home.load()) == values(loaded)


def values(loaded: Loaded) -> list[tuple[str, str, str]]:
    return [(said.section, said.key, said.value) for said in loaded.settings if said.value]


def test_each_value_stands_below_who_set_it(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home.write("[Systemd]", "Units=a.service", "[Runtime]", "LogLevel=debug")
    path = home.drop_in("10-local.conf", "[Systemd]", "", "Units=b.service")
    monkeypatch.setenv("KOI_LOG_LEVEL", "err")
    assert (
        written(capsys)
        == f"""\
# {home.main}
# {path}

[Runtime]
# default
Backends=auto
# default
ResyncInterval=60s
# default
RestartGrace=2s
# default
StaleAfter=10min
# KOI_LOG_LEVEL
LogLevel=err

[Docker]
# default
Socket=

[Podman]
# default
Socket=

[Systemd]
# {home.main}:2
Units=a.service
# {path}:3
Units=b.service
# default
ExcludeUnits=user@*.service user-runtime-dir@*.service systemd-*.service
# default
TrackExited=no

[HTTP]
# default
Listen=

[Capabilities]
# default
MDNS=auto
# default
Health=auto
# default
PartnerLabels=yes

[Health]
# default
Interval=30s
# default
Timeout=5s
# default
UnhealthyAfter=3
# default
WithdrawUnhealthy=yes
"""
    )


def test_a_program_reads_records(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home.write("[Runtime]", "ResyncInterval=2min")
    monkeypatch.setenv("KOI_NO_RUNTIME", "1")
    records = json.loads(written(capsys, "--json=short"))
    assert [record["key"] for record in records] == [row.key for row in KEYS]
    assert records[:3] == [
        {
            "section": "Runtime",
            "key": "Backends",
            "value": "none",
            "origin": {"variable": "KOI_NO_RUNTIME"},
        },
        {
            "section": "Runtime",
            "key": "ResyncInterval",
            "value": "2min",
            "origin": {"file": str(home.main), "line": 2},
        },
        {"section": "Runtime", "key": "RestartGrace", "value": "2s", "origin": "default"},
    ]


def test_the_files_are_a_legend(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.write("[Runtime]")
    assert written(capsys, "--no-legend").startswith("[Runtime]\n# default\n")


def test_colours_are_only_for_a_terminal(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home.write("[Runtime]", "LogLevel=debug")
    assert "\x1b" not in written(capsys)
    monkeypatch.setenv("SYSTEMD_COLORS", "1")
    assert f"\x1b[0;38;5;245m# {home.main}:2\x1b[0m\nLogLevel=debug\n" in written(capsys)


def test_a_hostile_file_name_stays_one_comment(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    home.drop_in("\x1b[31m\nLogLevel=err\n.conf", "[Runtime]", "LogLevel=debug")
    out = written(capsys)
    assert "\x1b" not in out
    home.write(out)
    assert home.load().config.log_level == 10


def test_warnings_go_to_stderr_one_a_line(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.write("[Runtime]", "LogLevl=debug")
    assert execute(["cat-config", "--user"], never) == 0
    said = capsys.readouterr()
    assert said.err == f"koi-runtime: {home.main}:2: unknown key 'LogLevl' in [Runtime], ignored\n"
    assert "LogLevl" not in said.out


def test_a_bad_configuration_is_a_failure_in_one_line(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    home.write("[Runtime]", "LogLevel=loud")
    assert execute(["cat-config", "--user"], never) == FAILURE
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"koi-runtime: {home.main}:2: [Runtime] LogLevel=: 'loud' is no log")
    assert said.err.count("\n") == 1


def test_it_takes_no_flags_of_the_agent(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["cat-config", "--runtime=auto"], never) == USAGE
    assert "--runtime=auto" in capsys.readouterr().err
