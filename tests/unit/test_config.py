"""What is set, by whom: flags over environment over files over defaults."""

from pathlib import Path

import pytest

from koi_agent.config import KEYS, Config, FlagError, Flags, Key, Origin, SystemdConfig
from koi_agent.core.unit_file.syntax import parse
from tests.unit.home import Home

SHIPPED = Path(__file__).parents[2] / "packaging" / "koi-runtime.conf"
BAD = {
    "Runtime.Backends": "bhyve",
    "Runtime.ResyncInterval": "0.5s",
    "Runtime.RestartGrace": "61s",
    "Runtime.StaleAfter": "31d",
    "Runtime.LogLevel": "loud",
    "Docker.Socket": "run/docker.sock",
    "Podman.Socket": "tcp://127.0.0.1:2375",
    "Systemd.Units": "web",
    "Systemd.ExcludeUnits": "/etc/*.service",
    "Systemd.TrackExited": "perhaps",
    "HTTP.Listen": "localhost:http",
    "Capabilities.MDNS": "bonjour",
    "Capabilities.Health": "on",
    "Capabilities.PartnerLabels": "2",
    "Health.Interval": "0",
    "Health.Timeout": "301s",
    "Health.UnhealthyAfter": "0",
    "Health.WithdrawUnhealthy": "maybe",
}
GOOD = {
    "Runtime.Backends": "none",
    "Runtime.ResyncInterval": "1.5min",
    "Runtime.RestartGrace": "500ms",
    "Runtime.StaleAfter": "1h",
    "Runtime.LogLevel": "debug",
    "Docker.Socket": "unix:///run/user/1000/docker.sock",
    "Podman.Socket": "/srv/podman.sock",
    "Systemd.Units": "web*.service",
    "Systemd.ExcludeUnits": "db.service",
    "Systemd.TrackExited": "yes",
    "HTTP.Listen": "8080",
    "Capabilities.MDNS": "off",
    "Capabilities.Health": "off",
    "Capabilities.PartnerLabels": "no",
    "Health.Interval": "5s",
    "Health.Timeout": "2s",
    "Health.UnhealthyAfter": "1",
    "Health.WithdrawUnhealthy": "no",
}


def name(row: Key) -> str:
    return f"{row.section}.{row.key}"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_no_file_at_all_means_the_defaults(home: Home) -> None:
    loaded = home.load()
    assert loaded.config == Config(scope="user")
    assert loaded.files == ()
    assert loaded.warnings == ()
    assert {setting.origin for setting in loaded.settings} == {Origin()}


@pytest.mark.parametrize("row", KEYS, ids=name)
def test_the_text_of_a_default_means_the_default(row: Key) -> None:
    assert row.read(row.default) == row.of(Config(scope="user"))


def test_each_key_is_tested_good_and_bad() -> None:
    assert list(BAD) == list(GOOD) == [name(row) for row in KEYS]


@pytest.mark.parametrize("row", KEYS, ids=name)
def test_a_bad_value_is_refused_with_file_line_key_and_reason(row: Key, home: Home) -> None:
    home.write("", f"[{row.section}]", "# said", f"{row.key} = {BAD[name(row)]}")
    error = home.refused()
    assert error.startswith(f"{home.main}:4: [{row.section}] {row.key}=: '{BAD[name(row)]}'")
    assert len(error) > len(f"{home.main}:4: [{row.section}] {row.key}=: '{BAD[name(row)]}' is")


@pytest.mark.parametrize("row", KEYS, ids=name)
def test_a_bad_value_is_refused_even_where_another_is_in_force(row: Key, home: Home) -> None:
    home.write(f"[{row.section}]", f"{row.key}={BAD[name(row)]}", f"{row.key}=")
    assert f"{home.main}:2: " in home.refused()


@pytest.mark.parametrize("row", KEYS, ids=name)
def test_a_good_value_is_in_force_and_tells_its_line(row: Key, home: Home) -> None:
    home.write(f"[{row.section}]", f"{row.key} = {GOOD[name(row)]} ")
    loaded = home.load()
    assert row.of(loaded.config) == row.read(GOOD[name(row)]) != row.of(Config(scope="user"))
    (setting,) = (
        said for said in loaded.settings if (said.section, said.key) == (row.section, row.key)
    )
    assert (setting.section, setting.value) == (row.section, GOOD[name(row)])
    assert setting.origin == Origin(file=str(home.main), line=2)


@pytest.mark.parametrize("row", [row for row in KEYS if row.emptied is None], ids=name)
def test_an_empty_assignment_means_the_default(row: Key, home: Home) -> None:
    home.write(f"[{row.section}]", f"{row.key}={GOOD[name(row)]}", f"{row.key}=")
    loaded = home.load()
    assert loaded.config == Config(scope="user")
    (setting,) = (
        said for said in loaded.settings if (said.section, said.key) == (row.section, row.key)
    )
    assert (setting.value, setting.origin) == (row.default, Origin())


def test_an_emptied_list_of_exclusions_excludes_nothing(home: Home) -> None:
    home.write("[Systemd]", "ExcludeUnits=")
    loaded = home.load()
    assert loaded.config.systemd == SystemdConfig(exclude_units=())
    assert Origin(file=str(home.main), line=2) in [said.origin for said in loaded.settings]


def test_lists_add_up_over_files_until_an_empty_assignment(home: Home) -> None:
    home.write("[Systemd]", "Units=a.service", "ExcludeUnits=b.service c.service")
    home.drop_in("10.conf", "[Systemd]", "Units=d.service", "ExcludeUnits=")
    home.drop_in("20.conf", "[Systemd]", "Units=a.service e.service", "ExcludeUnits=f.service")
    systemd = home.load().config.systemd
    assert systemd.units == ("a.service", "d.service", "e.service")
    assert systemd.exclude_units == ("f.service",)


def test_of_other_keys_the_last_value_counts(home: Home) -> None:
    home.write("[Runtime]", "ResyncInterval=2min", "ResyncInterval=3min")
    path = home.drop_in("10.conf", "[Runtime]", "", "ResyncInterval=1.5min")
    loaded = home.load()
    assert loaded.config.resync_interval == 90.0
    assert Origin(file=str(path), line=3) in [said.origin for said in loaded.settings]


def test_too_much_in_all_is_the_fault_of_the_last_assignment(home: Home) -> None:
    home.write("[HTTP]", *(f"Listen={port}" for port in range(8000, 8009)))
    assert f"{home.main}:10: [HTTP] Listen=: 18 sockets are too many" in home.refused()


@pytest.mark.parametrize(
    ("variable", "spoken", "flags"),
    [
        ("KOI_RUNTIME", "systemd", Flags(scope="user", runtime="auto")),
        ("KOI_NO_RUNTIME", "yes", Flags(scope="user", runtime="systemd")),
        ("KOI_LOG_LEVEL", "err", Flags(scope="user", log_level="warning")),
    ],
)
def test_a_variable_is_over_the_files_and_a_flag_over_both(
    variable: str, spoken: str, flags: Flags, home: Home
) -> None:
    home.write("[Runtime]", "Backends=none", "LogLevel=debug")
    origins = [said.origin for said in home.load({variable: spoken}).settings]
    assert Origin(variable=variable) in origins
    home.flags = flags
    loaded = home.load({variable: spoken})
    assert [said.origin.flag for said in loaded.settings if said.origin.flag]
    assert Origin(variable=variable) not in [said.origin for said in loaded.settings]


def test_to_follow_nothing_can_be_said_everywhere(home: Home) -> None:
    home.write("[Runtime]", "Backends = systemd")
    assert home.load({"KOI_NO_RUNTIME": "no"}).config.backends == ("systemd",)
    assert home.load({"KOI_NO_RUNTIME": "yes", "KOI_RUNTIME": "auto"}).config.backends == ()
    home.flags = Flags(scope="user", runtime="systemd", no_runtime=True)
    assert home.load().config.backends == ()
    home.flags = Flags(scope="user")
    home.write("[Runtime]", "Backends = None")
    assert home.load().config.backends == ()


@pytest.mark.parametrize("variable", ["KOI_RUNTIME", "KOI_NO_RUNTIME", "KOI_LOG_LEVEL"])
def test_a_bad_variable_is_named_and_an_empty_one_is_none(variable: str, home: Home) -> None:
    assert home.refused({variable: "perhaps"}).startswith(f"{variable}: 'perhaps' is no ")
    assert home.load({variable: ""}).config == Config(scope="user")


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (Flags(scope="user", runtime=""), "--runtime: '' is no runtime"),
        (Flags(scope="user", runtime="none"), "--runtime: 'none' is no runtime"),
        (Flags(scope="user", log_level=""), "--log-level: '' is no log level"),
    ],
    ids=str,
)
def test_a_bad_flag_is_named_and_is_none_of_the_files_errors(
    flags: Flags, named: str, home: Home
) -> None:
    home.flags = flags
    with pytest.raises(FlagError, match=named):
        home.load()


def test_it_is_read_anew_each_time(home: Home) -> None:
    assert home.load().config.log_level == 20
    home.write("[Runtime]", "LogLevel=debug")
    assert home.load().config.log_level == 10


def test_what_means_nothing_here_is_told_and_what_is_for_others_is_not(home: Home) -> None:
    home.write(
        "LogLevel=debug",
        "[Runtime]",
        "Backend=auto",
        "X-Note=ours",
        "nonsense",
        "[Incus]",
        "Socket=/run/docker.sock",
        "Other=1",
        "[X-Local]",
        "Any=thing",
    )
    assert home.load().warnings == (
        f"{home.main}:1: 'LogLevel=debug' stands before the first section, ignored",
        f"{home.main}:3: unknown key 'Backend' in [Runtime], ignored",
        f"{home.main}:5: 'nonsense' has no =, ignored",
        f"{home.main}:7: unknown section [Incus], ignored",
    )


def test_warnings_are_bounded_and_fit_to_print(home: Home) -> None:
    home.write("[Runtime]", *["\x1b[31m" + "k" * 5000 + "=v"] * 100)
    warnings = home.load().warnings
    assert len(warnings) == 21
    assert warnings[-1] == f"{home.main}: 80 more lines mean nothing here"
    assert all(len(said) < 400 and said.isprintable() for said in warnings)


def test_the_file_that_is_shipped_has_every_key_with_its_default_and_no_other() -> None:
    text = SHIPPED.read_text()
    assert parse(text.encode()).entries == ()
    lines = [line.removeprefix("#") for line in text.splitlines() if not line.startswith("# ")]
    entries = parse("\n".join(lines).encode()).entries
    assert [(said.section, said.key, said.value) for said in entries] == [
        (row.section, row.key, row.default) for row in KEYS
    ]
