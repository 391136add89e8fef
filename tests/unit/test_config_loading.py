"""The configuration in force: options override the environment, then files, then defaults."""

from operator import attrgetter
from pathlib import Path

import pytest

from koi_agent import backends
from koi_agent.config import (
    BACKENDS,
    KEYS,
    Config,
    EngineConfig,
    FlagError,
    Flags,
    Key,
    Origin,
    SystemdConfig,
)
from koi_agent.config.keys import Assignments
from tests.unit.home import Home

DEFAULTS = Config(scope="user")
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
    "HTTP.Hosts": "*.example.org",
    "Capabilities.MDNS": "bonjour",
    "Capabilities.DNS": "bind",
    "Capabilities.Proxy": "nginx",
    "Capabilities.Health": "on",
    "Capabilities.PartnerLabels": "2",
    "Capabilities.ImageLabels": "some",
    "Capabilities.AllowNames": "web.lan",
    "Capabilities.DenyNames": "*.local",
    "Health.Interval": "0",
    "Health.Timeout": "301s",
    "Health.UnhealthyAfter": "0",
    "Health.WithdrawUnhealthy": "maybe",
    "DNS.Domain": "local",
    "DNS.ExtraDomains": "bücher.example",
    "DNS.TTL": "2h",
    "DNS.Listen": "localhost:dns",
    "DNS.ReverseNetworks": "192.0.2.0/25",
    "DNS.AllowTransfer": "any",
    "DNS.Notify": "ns.example.org",
    "DNS.HostsDirectory": "hosts.d",
    "DNS.Update": "ns.example.org",
    "DNS.UpdateZone": "local",
    "DNS.UpdateKey": "a key",
    "DNS.UpdateKeyFile": "update.key",
    "DNS.Webhook": "127.0.0.1:8888",
    "DNS.ReleaseOnStop": "maybe",
    "Proxy.Ports": "https",
    "Proxy.Caddy": "192.0.2.1:2019",
    "Proxy.TraefikFile": "/etc/traefik/koi.json",
    "Proxy.Issuer": "selfsigned",
    "Koi.Endpoint": "http://192.0.2.1:5641",
    "Koi.TokenFile": "token",
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
    "HTTP.Hosts": "www.example.org",
    "Capabilities.MDNS": "off",
    "Capabilities.DNS": "server hosts",
    "Capabilities.Proxy": "caddy traefik",
    "Capabilities.Health": "off",
    "Capabilities.PartnerLabels": "no",
    "Capabilities.ImageLabels": "yes",
    "Capabilities.AllowNames": "web* 'My App'",
    "Capabilities.DenyNames": "printer*",
    "Health.Interval": "5s",
    "Health.Timeout": "2s",
    "Health.UnhealthyAfter": "1",
    "Health.WithdrawUnhealthy": "no",
    "DNS.Domain": "home.example",
    "DNS.ExtraDomains": "example.org",
    "DNS.TTL": "1min",
    "DNS.Listen": "5354",
    "DNS.ReverseNetworks": "192.0.2.0/24",
    "DNS.AllowTransfer": "192.0.2.0/24 key:second",
    "DNS.Notify": "192.0.2.53",
    "DNS.HostsDirectory": "/run/hosts.d",
    "DNS.Update": "[2001:db8::1]:5354",
    "DNS.UpdateZone": "example.org",
    "DNS.UpdateKey": "agent.example",
    "DNS.UpdateKeyFile": "/etc/koi-runtime/update.key",
    "DNS.Webhook": "https://dns.example/webhook",
    "DNS.ReleaseOnStop": "yes",
    "Proxy.Ports": "443 8443",
    "Proxy.Caddy": "/run/caddy/admin.sock",
    "Proxy.TraefikFile": "/etc/traefik/koi.yml",
    "Proxy.Issuer": "acme",
    "Koi.Endpoint": "http://127.0.0.1:5641",
    "Koi.TokenFile": "/etc/koi/token",
}


def name(key: Key) -> str:
    return f"{key.section}.{key.name}"


def value(key: Key, config: Config) -> object:
    """Return the value of a key."""
    return attrgetter(key.attribute)(config)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_without_files_the_defaults_are_in_force(home: Home) -> None:
    loaded = home.load()
    assert loaded.config == DEFAULTS
    assert loaded.files == ()
    assert loaded.warnings == ()
    assert {setting.origin for setting in loaded.settings} == {Origin()}


@pytest.mark.parametrize("key", KEYS, ids=name)
def test_the_default_of_a_key_is_the_default_of_its_field(key: Key) -> None:
    assert key.read(key.default) == value(key, DEFAULTS)


def test_each_key_has_a_valid_and_an_invalid_example() -> None:
    assert list(BAD) == list(GOOD) == [name(key) for key in KEYS]


@pytest.mark.parametrize("key", KEYS, ids=name)
def test_an_invalid_value_is_refused_with_file_line_key_and_reason(key: Key, home: Home) -> None:
    home.write("", f"[{key.section}]", "# comment", f"{key.name} = {BAD[name(key)]}")
    error = home.refused()
    assert error.startswith(f"{home.main}:4: [{key.section}] {key.name}=: '{BAD[name(key)]}'")
    assert len(error) > len(f"{home.main}:4: [{key.section}] {key.name}=: '{BAD[name(key)]}' is")


@pytest.mark.parametrize("key", KEYS, ids=name)
def test_an_invalid_value_is_refused_even_if_another_is_in_force(key: Key, home: Home) -> None:
    home.write(f"[{key.section}]", f"{key.name}={BAD[name(key)]}", f"{key.name}=")
    assert f"{home.main}:2: " in home.refused()


@pytest.mark.parametrize("key", KEYS, ids=name)
def test_a_valid_value_is_in_force_with_its_line(key: Key, home: Home) -> None:
    home.write(f"[{key.section}]", f"{key.name} = {GOOD[name(key)]} ")
    loaded = home.load()
    assert value(key, loaded.config) == key.read(GOOD[name(key)]) != value(key, DEFAULTS)
    (setting,) = (
        one for one in loaded.settings if (one.section, one.key) == (key.section, key.name)
    )
    assert (setting.section, setting.value) == (key.section, GOOD[name(key)])
    assert setting.origin == Origin(file=str(home.main), line=2)


@pytest.mark.parametrize(
    "key", [key for key in KEYS if key.assignments is not Assignments.EMPTIABLE_LIST], ids=name
)
def test_an_empty_assignment_restores_the_default(key: Key, home: Home) -> None:
    home.write(f"[{key.section}]", f"{key.name}={GOOD[name(key)]}", f"{key.name}=")
    loaded = home.load()
    assert loaded.config == DEFAULTS
    (setting,) = (
        one for one in loaded.settings if (one.section, one.key) == (key.section, key.name)
    )
    assert (setting.value, setting.origin) == (key.default, Origin())


def test_an_empty_list_of_exclusions_excludes_nothing(home: Home) -> None:
    home.write("[Systemd]", "ExcludeUnits=")
    loaded = home.load()
    assert loaded.config.systemd == SystemdConfig(exclude_units=())
    assert Origin(file=str(home.main), line=2) in [one.origin for one in loaded.settings]


def test_lists_are_combined_over_files_until_an_empty_assignment(home: Home) -> None:
    home.write("[Systemd]", "Units=a.service", "ExcludeUnits=b.service c.service")
    home.drop_in("10.conf", "[Systemd]", "Units=d.service", "ExcludeUnits=")
    home.drop_in("20.conf", "[Systemd]", "Units=a.service e.service", "ExcludeUnits=f.service")
    systemd = home.load().config.systemd
    assert systemd.units == ("a.service", "d.service", "e.service")
    assert systemd.exclude_units == ("f.service",)


def test_the_last_value_of_other_keys_counts(home: Home) -> None:
    home.write("[Runtime]", "ResyncInterval=2min", "ResyncInterval=3min")
    path = home.drop_in("10.conf", "[Runtime]", "", "ResyncInterval=1.5min")
    loaded = home.load()
    assert loaded.config.resync_interval == 90.0
    assert Origin(file=str(path), line=3) in [one.origin for one in loaded.settings]


def test_too_many_items_in_total_are_reported_at_the_last_assignment(home: Home) -> None:
    home.write("[HTTP]", *(f"Listen={port}" for port in range(8000, 8009)))
    assert f"{home.main}:10: [HTTP] Listen=: 18 sockets are too many" in home.refused()


@pytest.mark.parametrize(
    ("variable", "text", "flags"),
    [
        ("KOI_RUNTIME", "systemd", Flags(scope="user", runtime="auto")),
        ("KOI_NO_RUNTIME", "yes", Flags(scope="user", runtime="systemd")),
        ("KOI_LOG_LEVEL", "err", Flags(scope="user", log_level="warning")),
    ],
)
def test_a_variable_overrides_files_and_an_option_overrides_both(
    variable: str, text: str, flags: Flags, home: Home
) -> None:
    home.write("[Runtime]", "Backends=none", "LogLevel=debug")
    origins = [one.origin for one in home.load({variable: text}).settings]
    assert Origin(variable=variable) in origins
    home.flags = flags
    loaded = home.load({variable: text})
    assert [one.origin.flag for one in loaded.settings if one.origin.flag]
    assert Origin(variable=variable) not in [one.origin for one in loaded.settings]


def test_no_backend_can_be_requested_everywhere(home: Home) -> None:
    home.write("[Runtime]", "Backends = systemd")
    assert home.load({"KOI_NO_RUNTIME": "no"}).config.backends == ("systemd",)
    assert home.load({"KOI_NO_RUNTIME": "yes", "KOI_RUNTIME": "auto"}).config.backends == ()
    home.flags = Flags(scope="user", runtime="systemd", no_runtime=True)
    assert home.load().config.backends == ()
    home.flags = Flags(scope="user")
    home.write("[Runtime]", "Backends = None")
    assert home.load().config.backends == ()


@pytest.mark.parametrize("variable", ["KOI_RUNTIME", "KOI_NO_RUNTIME", "KOI_LOG_LEVEL"])
def test_an_invalid_variable_is_named_and_an_empty_one_is_ignored(
    variable: str, home: Home
) -> None:
    assert home.refused({variable: "perhaps"}).startswith(f"{variable}: 'perhaps' is ")
    assert home.load({variable: ""}).config == DEFAULTS


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (Flags(scope="user", runtime=""), "--runtime: '' is not a backend"),
        (Flags(scope="user", runtime="none"), "--runtime: 'none' is not a backend"),
        (Flags(scope="user", log_level=""), "--log-level: '' is not a log level"),
    ],
    ids=str,
)
def test_an_invalid_option_is_named_and_has_its_own_error(
    flags: Flags, named: str, home: Home
) -> None:
    home.flags = flags
    with pytest.raises(FlagError, match=named):
        home.load()


def test_files_are_read_again_each_time(home: Home) -> None:
    assert home.load().config.log_level == 20
    home.write("[Runtime]", "LogLevel=debug")
    assert home.load().config.log_level == 10


def test_unknown_keys_are_warned_about_and_those_with_x_are_not(home: Home) -> None:
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
        f"{home.main}:3: unknown key 'Backend' in [Runtime], ignored; did you mean Backends=?",
        f"{home.main}:5: 'nonsense' has no =, ignored",
        f"{home.main}:7: unknown section [Incus], ignored",
    )


@pytest.mark.parametrize(
    ("section", "key", "hint"),
    [
        ("Health", "ResyncInterval", "it belongs to [Runtime]"),
        ("Runtime", "unhealthyafter", "it belongs to [Health]"),
        ("HTTP", "Socket", "it belongs to [Docker] or [Podman]"),
        ("Runtime", "ResyncIntervals", "did you mean ResyncInterval=?"),
        ("Runtime", "resyncinterval", "did you mean ResyncInterval=?"),
        ("Health", "Intervals", "did you mean Interval=?"),
        ("Health", "Resync_Interval", "did you mean ResyncInterval= in [Runtime]?"),
        ("Capabilities", "mDNS", "did you mean MDNS=?"),
        ("Runtime", "Frobnicate", ""),
        ("Runtime", "k" * 5000, ""),
    ],
)
def test_unknown_key_has_a_suggestion(home: Home, section: str, key: str, hint: str) -> None:
    home.write(f"[{section}]", f"{key}=1")
    (warning,) = home.load().warnings
    assert warning.endswith(f" in [{section}], ignored; {hint}" if hint else "ignored")


@pytest.mark.parametrize(
    ("section", "hint"),
    [
        ("runtime", "did you mean [Runtime]?"),
        ("Heatlh", "did you mean [Health]?"),
        ("SystemD", "did you mean [Systemd]?"),
        ("Unit", ""),
    ],
)
def test_unknown_section_has_a_suggestion(home: Home, section: str, hint: str) -> None:
    home.write(f"[{section}]", "Key=1")
    (warning,) = home.load().warnings
    assert warning.endswith(f"[{section}], ignored; {hint}" if hint else "ignored")


def test_warnings_are_limited_and_printable(home: Home) -> None:
    home.write("[Runtime]", *["\x1b[31m" + "k" * 5000 + "=v"] * 100)
    warnings = home.load().warnings
    assert len(warnings) == 21
    assert warnings[-1] == f"{home.main}: 80 more lines ignored"
    assert all(len(one) < 400 and one.isprintable() for one in warnings)


def test_each_backend_has_settings_and_a_row_in_the_table_of_backends() -> None:
    assert {"docker": EngineConfig, "podman": EngineConfig, "systemd": SystemdConfig} == BACKENDS
    assert list(backends.BACKENDS) == list(BACKENDS)
    assert DEFAULTS.backends == tuple(BACKENDS)


def test_settings_of_a_backend_have_the_requested_type() -> None:
    assert DEFAULTS.backend("podman", EngineConfig) is DEFAULTS.podman
    with pytest.raises(TypeError, match="backend systemd: its settings are not EngineConfig"):
        DEFAULTS.backend("systemd", EngineConfig)
