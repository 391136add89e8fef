"""``cat-config`` prints the settings in force and their origins as a valid configuration file."""

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
    "ImageLabels": ["yes", "0"],
    "AllowNames": ["*", "web* 'My App'"],
    "DenyNames": ["printer*", "a b"],
    "DNS": ["off", "server", "Hosts", "server hosts"],
    "Health": ["off", "auto"],
    "Interval": ["1s", "5min"],
    "Timeout": ["1", "1min"],
    "UnhealthyAfter": ["1", "100"],
    "WithdrawUnhealthy": ["no", "1"],
    "Units": ["*", "a.service", "'b.service' c*", r"d-\x2d.service"],
    "RestartGrace": ["0", "500ms", "1min"],
    "Socket": ["/run/docker.sock", "unix:///run/user/1000/docker.sock"],
    "Projects": ["*", "default shop-*"],
    "ExcludeUnits": ["*", "a.service\t'b.service'"],
    "TrackExited": ["yes", "off", "1"],
    "Machines": ["*", "web* 'db'"],
    "ExcludeMachines": ["*", "test-?"],
    "Kubeconfig": ["/etc/koi-runtime/kubeconfig"],
    "Context": ["home", "me@home"],
    "Namespaces": ["default", "default shop"],
    "Node": ["all", "n1.example.org"],
    "Hosts": ["www.example.org", "nas [2001:db8::1]"],
    "HTTP.Listen": ["8080", "*:80", "'/run/a b.sock' [::1]:81", r"/run/\x41"],
    "Domain": ["example.org", "Home.Arpa"],
    "Webhook": ["http://127.0.0.1:8888", "https://dns.example/a"],
    "ExtraDomains": ["a.example", "b.example c.example"],
    "TTL": ["1", "5min"],
    "DNS.Listen": ["5354", "*:53 [::1]:5354", "192.0.2.1:53"],
    "ReverseNetworks": ["10.0.3.0/24", "10.0.0.0/8 2001:db8::/64"],
    "AllowTransfer": ["192.0.2.0/24", "2001:db8::1 key:xfer.example"],
    "Notify": ["192.0.2.1", "[2001:db8::1]:5354 192.0.2.2:54"],
    "HostsDirectory": ["/etc/hosts.d", "/run/a b/"],
    "Update": ["192.0.2.1", "[2001:db8::1]:5354"],
    "UpdateZone": ["Example.org"],
    "UpdateKey": ["agent.example"],
    "UpdateKeyFile": ["/etc/update.key", "/run/a b"],
    "ReleaseOnStop": ["yes", "0"],
    "Capabilities.Proxy": ["off", "caddy Traefik"],
    "Ports": ["443", "443 8443"],
    "Caddy": ["/run/caddy/admin.sock", "127.0.0.1:2019"],
    "TraefikFile": ["/etc/traefik/koi.yml"],
    "Issuer": ["acme", "Internal"],
    "Endpoint": ["http://127.0.0.1:5641", "http://[::1]:80/"],
    "TokenFile": ["/etc/koi/token"],
}
QUIET = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("KOI_RUNTIME", "KOI_NO_RUNTIME", "KOI_LOG_LEVEL", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    return Home(tmp_path)


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert execute(["cat-config", "--user", *argv], never) == 0
    return capsys.readouterr().out


def never(*_: object) -> int:
    raise AssertionError("the agent was started")


def lines_of(key: Key) -> st.SearchStrategy[list[tuple[Key, str]]]:
    """Return a strategy of assignments to a key, some of them empty."""
    examples = VALUES.get(key.name) or VALUES[f"{key.section}.{key.name}"]
    values = st.sampled_from(["", *examples])
    return st.lists(values.map(lambda value: (key, value)), max_size=3)


ASSIGNMENTS = (
    st.tuples(*map(lines_of, KEYS)).map(lambda rows: [*chain(*rows)]).flatmap(st.permutations)
)


@QUIET
@given(assigned=ASSIGNMENTS, split=st.integers(0, 20))
def test_output_read_as_a_file_gives_the_same_configuration(
    assigned: list[tuple[Key, str]], split: int, home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    text = [f"[{key.section}]\n{key.name}={value}" for key, value in assigned]
    home.write(*text[:split])
    other = home.drop_in("10-other.conf", *text[split:])
    loaded = home.load()
    text_again = run(capsys)
    other.unlink()
    home.write(text_again)
    assert home.load().config == loaded.config
    assert values(home.load()) == values(loaded)


def values(loaded: Loaded) -> list[tuple[str, str, str]]:
    return [(one.section, one.key, one.value) for one in loaded.settings if one.value]


def test_each_value_is_printed_below_its_origin(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home.write("[Systemd]", "Units=a.service", "[Runtime]", "LogLevel=debug")
    path = home.drop_in("10-local.conf", "[Systemd]", "", "Units=b.service")
    monkeypatch.setenv("KOI_LOG_LEVEL", "err")
    assert (
        run(capsys)
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

[Incus]
# default
Socket=
# default
Projects=*

[LXD]
# default
Socket=
# default
Projects=*

[Systemd]
# {home.main}:2
Units=a.service
# {path}:3
Units=b.service
# default
ExcludeUnits=user@*.service user-runtime-dir@*.service systemd-*.service
# default
TrackExited=no

[Machined]
# default
Machines=*
# default
ExcludeMachines=

[Kubernetes]
# default
Kubeconfig=
# default
Context=
# default
Namespaces=
# default
Node=

[HTTP]
# default
Listen=
# default
Hosts=

[Capabilities]
# default
MDNS=auto
# default
DNS=auto
# default
Proxy=auto
# default
Health=auto
# default
PartnerLabels=yes
# default
ImageLabels=no
# default
AllowNames=*
# default
DenyNames=

[Health]
# default
Interval=30s
# default
Timeout=5s
# default
UnhealthyAfter=3
# default
WithdrawUnhealthy=yes

[DNS]
# default
Domain=internal
# default
ExtraDomains=
# default
TTL=30s
# default
Listen=
# default
ReverseNetworks=
# default
AllowTransfer=
# default
Notify=
# default
HostsDirectory=
# default
Update=
# default
UpdateZone=
# default
UpdateKey=
# default
UpdateKeyFile=
# default
Webhook=
# default
ReleaseOnStop=no

[Proxy]
# default
Ports=443
# default
Caddy=
# default
TraefikFile=
# default
Issuer=internal

[Koi]
# default
Endpoint=
# default
TokenFile=
"""
    )


def test_json_has_one_record_for_each_setting(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home.write("[Runtime]", "ResyncInterval=2min")
    monkeypatch.setenv("KOI_NO_RUNTIME", "1")
    records = json.loads(run(capsys, "--json=short"))
    assert [record["key"] for record in records] == [key.name for key in KEYS]
    assert all(record.pop("in_force") is None for record in records)
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


def test_the_list_of_files_is_part_of_the_legend(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    home.write("[Runtime]")
    assert run(capsys, "--no-legend").startswith("[Runtime]\n# default\n")


def test_colours_are_used_only_on_a_terminal(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home.write("[Runtime]", "LogLevel=debug")
    assert "\x1b" not in run(capsys)
    monkeypatch.setenv("SYSTEMD_COLORS", "1")
    assert f"\x1b[0;38;5;245m# {home.main}:2\x1b[0m\nLogLevel=debug\n" in run(capsys)


def test_a_hostile_file_name_is_one_comment(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.drop_in("\x1b[31m\nLogLevel=err\n.conf", "[Runtime]", "LogLevel=debug")
    out = run(capsys)
    assert "\x1b" not in out
    home.write(out)
    assert home.load().config.log_level == 10


def test_warnings_go_to_stderr_one_per_line(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.write("[Runtime]", "LogLevl=debug")
    assert execute(["cat-config", "--user"], never) == 0
    printed = capsys.readouterr()
    assert (
        printed.err == f"koi-runtime: {home.main}:2: unknown key 'LogLevl' in [Runtime], ignored;"
        " did you mean LogLevel=?\n"
    )
    assert "LogLevl" not in printed.out


def test_an_invalid_configuration_is_an_error_of_one_line(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    home.write("[Runtime]", "LogLevel=loud")
    assert execute(["cat-config", "--user"], never) == FAILURE
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(
        f"koi-runtime: {home.main}:2: [Runtime] LogLevel=: 'loud' is not a log level; write "
    )
    assert printed.err.count("\n") == 1


def test_options_of_run_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["cat-config", "--runtime=auto"], never) == USAGE
    assert "--runtime=auto" in capsys.readouterr().err
