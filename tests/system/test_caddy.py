"""The confined agent serves a page with Debian's Caddy, through its gate only."""

from collections.abc import Iterator
from typing import Final

import pytest

from tests.machine import Machine
from tests.machine.images import USER
from tests.namespaces import wait_until
from tests.system.service import UNITS, Service

AGENT: Final = "_koi-runtime"
ADMIN: Final = "/run/caddy/admin.sock"
GATE: Final = "/run/koi-runtime/gate/caddy.sock"
GATE_UNIT: Final = "koi-runtime-gate@caddy"
DROP_INS: Final = f"{UNITS}/caddy.service.d"
CADDYFILE: Final = """\
{
	admin unix//run/caddy/admin.sock
	skip_install_trust
}
http://:80 {
	respond "of others"
}
"""
WIKI: Final = "koi-wiki.service"
WIKI_UNIT: Final = """\
[Service]
ExecStart=/usr/bin/python3 -m http.server 8080 --bind 127.0.0.1 --directory /srv/koi-wiki
[X-Koi]
Announce=wiki
Port=8080
ProxyPort=443
"""


@pytest.fixture
def proxied(service: Service) -> Iterator[Machine]:
    """The machine with a Caddy that listens on its socket, and a page to serve."""
    machine = service.machine
    machine.write("/srv/koi-wiki/index.html", "the wiki\n")
    machine.write(f"{UNITS}/{WIKI}", WIKI_UNIT)
    machine.write(f"{DROP_INS}/admin.conf", "[Service]\nRuntimeDirectory=caddy\n")
    machine.write("/etc/caddy/Caddyfile", CADDYFILE)
    machine.systemctl("daemon-reload")
    machine.systemctl("start", WIKI)
    service.configure(f"[Proxy]\nCaddy={ADMIN}\n")
    service.systemctl("restart")
    machine.systemctl("start", "caddy")
    yield machine
    machine.systemctl("stop", "caddy", WIKI)
    machine.remove(DROP_INS)
    machine.remove(f"{UNITS}/{WIKI}")
    machine.systemctl("daemon-reload")


def get(machine: Machine) -> str:
    """Request the page over TLS, by its name."""
    where = ("--resolve", "wiki.internal:443:127.0.0.1", "https://wiki.internal/")
    return machine.run("curl", "-s", "-m", "5", "--insecure", *where, check=False).stdout


def ask(machine: Machine, socket: str, path: str, *options: str, user: str = AGENT) -> str:
    """Return the HTTP status of a response of the admin API, 000 without a response."""
    command = ("curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", *options)
    words = (*command, "-H", "Host:", "-H", "Host;", "--unix-socket", socket, f"http://x{path}")
    return machine.run(*words, user=user, check=False).stdout


def served(machine: Machine) -> bool:
    return get(machine) == "the wiki\n"


def test_a_page_is_served_through_the_gate(proxied: Machine, service: Service) -> None:
    wait_until(lambda: served(proxied), "the page is served", timeout=60)
    assert proxied.run("curl", "-s", "http://127.0.0.1/").stdout == "of others"
    assert proxied.show(f"{GATE_UNIT}.service", "ActiveState") == "active"
    assert proxied.show(f"{GATE_UNIT}.service", "User") == "caddy"
    doctor = proxied.run("koi-runtime", "doctor", check=False).stdout
    assert "caddy: gate listening" in doctor
    assert f"{ADMIN} accepts connections" in doctor
    proxied.systemctl("reload", "caddy")
    wait_until(lambda: served(proxied), "the page is served again after a reload", timeout=60)
    proxied.systemctl("restart", "caddy")
    wait_until(lambda: served(proxied), "the page is served again after a restart", timeout=60)
    proxied.systemctl("kill", "--signal=KILL", f"{GATE_UNIT}.service")
    wait_until(lambda: ask(proxied, GATE, "/config/") == "200", "the gate is back", timeout=60)
    assert served(proxied)
    proxied.systemctl("stop", "koi-runtime.socket", "koi-runtime.service")
    wait_until(lambda: not get(proxied), "the route is gone", timeout=60)
    wait_until(
        lambda: proxied.show(f"{GATE_UNIT}.socket", "ActiveState") == "inactive", "it is closed"
    )
    assert proxied.run("curl", "-s", "http://127.0.0.1/").stdout == "of others"


def test_the_agents_user_changes_nothing_of_others(proxied: Machine, service: Service) -> None:
    wait_until(lambda: served(proxied), "the page is served", timeout=60)
    assert ask(proxied, ADMIN, "/config/") == "000"
    assert ask(proxied, GATE, "/config/", user=USER) == "000"
    wait_until(lambda: ask(proxied, GATE, "/config/") == "200", "the gate answers")
    for path, *options in (
        ("/load", "-d", "{}"),
        ("/stop", "-X", "POST"),
        ("/config/", "-X", "DELETE"),
        ("/config/apps/http/servers/srv0", "-X", "DELETE"),
        ("/pki/ca/local",),
    ):
        assert ask(proxied, GATE, path, *options) == "403", path
    assert service.show("SupplementaryGroups") == ""
    assert proxied.run("curl", "-s", "http://127.0.0.1/").stdout == "of others"
    assert served(proxied)


def test_a_masked_gate_is_closed(proxied: Machine, service: Service) -> None:
    wait_until(lambda: served(proxied), "the page is served", timeout=60)
    proxied.systemctl("mask", "--now", f"{GATE_UNIT}.path")
    try:
        wait_until(
            lambda: proxied.show(f"{GATE_UNIT}.socket", "ActiveState") == "inactive", "it is closed"
        )
        service.systemctl("restart")
        assert ask(proxied, GATE, "/config/") == "000"
        advice = "Permission denied; systemctl start koi-runtime-gate@caddy.path"
        wait_until(lambda: advice in service.journal(), "the reason is logged", timeout=60)
        wait_until(
            lambda: advice in proxied.run("koi-runtime", "show", WIKI).stdout, "the record has it"
        )
    finally:
        proxied.systemctl("unmask", f"{GATE_UNIT}.path")
    proxied.systemctl("start", f"{GATE_UNIT}.path")
    wait_until(lambda: served(proxied), "the page is served again", timeout=60)
