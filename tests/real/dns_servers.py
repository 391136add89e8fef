"""Real DNS servers on the peer of a small network, configured for the agent on the other host."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Final

from tests.conftest import require
from tests.lan import Lan

PORT: Final = 5300
"""The port of each server here."""
SECRET: Final = "c2VjcmV0IG9mIHNpeHRlZW4gYnl0ZXM="
PRIMARY, PEER = "192.0.2.1", "192.0.2.2"


@dataclass(frozen=True)
class Kind:
    """A DNS server: its program, the arguments before its file, and the file."""

    program: str
    arguments: tuple[str, ...]
    text: str


KNOT_COMMON = """\
server:
  rundir: "$folder"
  listen: $peer@$port
database:
  storage: "$folder/db"
key:
  - id: peer
    algorithm: hmac-sha256
    secret: $secret
"""
BIND_COMMON = """\
options {
  directory "$folder"; pid-file none; session-keyfile none; lock-file none;
  listen-on port $port { $peer; }; listen-on-v6 { none; };
  recursion no; dnssec-validation no;
};
controls { };
key "peer" { algorithm hmac-sha256; secret "$secret"; };
"""
KNOT = (
    KNOT_COMMON
    + """\
remote:
  - id: primary
    address: $primary@5354
    key: peer
acl:
  - id: notify
    address: $primary
    action: notify
zone:
  - domain: internal
    master: primary
    acl: notify
    storage: "$folder"
"""
)
BIND = (
    BIND_COMMON
    + """\
zone "internal" {
  type secondary; file "internal.zone"; allow-notify { $primary; };
  primaries port 5354 { $primary key peer; };
};
"""
)
NSD = """\
server:
  ip-address: $peer@$port
  server-count: 1
  username: ""
  chroot: ""
  pidfile: ""
  zonesdir: "$folder"
  xfrdir: "$folder"
  xfrdfile: "$folder/xfrd.state"
  zonelistfile: "$folder/zone.list"
  database: "$folder/nsd.db"
  cookie-secret-file: ""
remote-control:
  control-enable: no
key:
  name: peer
  algorithm: hmac-sha256
  secret: "$secret"
zone:
  name: internal
  zonefile: internal.zone
  request-xfr: AXFR $primary@5354 peer
  allow-notify: $primary NOKEY
"""
UNBOUND = """\
server:
  interface: $peer@$port
  access-control: 192.0.2.0/24 allow
  module-config: "iterator"
  local-zone: "internal." nodefault
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  cache-max-negative-ttl: 1
  cache-max-ttl: 1
remote-control:
  control-enable: no
stub-zone:
  name: internal
  stub-addr: $primary@5354
"""
DNSMASQ = """\
port=$port
listen-address=$peer
bind-interfaces
no-resolv
no-hosts
cache-size=0
user=root
server=/internal/$primary#5354
"""
ZONE: Final = """\
@ 60 SOA localhost. hostmaster.invalid. 1 300 60 86400 5
@ 60 NS localhost.
printer 60 A 192.0.2.77
"""
"""A zone that has a name of its own already."""
KNOT_PRIMARY = (
    KNOT_COMMON
    + """\
acl:
  - id: update
    key: peer
    action: [update, transfer]
zone:
  - domain: internal
    storage: "$folder"
    file: internal.zone
    acl: update
"""
)
BIND_PRIMARY = (
    BIND_COMMON
    + """\
zone "internal" {
  type primary; file "internal.zone";
  update-policy { grant peer subdomain internal. ANY; };
};
"""
)
PRIMARIES: Final[Mapping[str, Kind]] = {
    "knot": Kind("knotd", ("-c",), KNOT_PRIMARY),
    "bind": Kind("named", ("-g", "-c"), BIND_PRIMARY),
}
SECONDARIES: Final[Mapping[str, Kind]] = {
    "knot": Kind("knotd", ("-c",), KNOT),
    "bind": Kind("named", ("-g", "-c"), BIND),
    "nsd": Kind("nsd", ("-d", "-c"), NSD),
}
FORWARDERS: Final[Mapping[str, Kind]] = {
    "unbound": Kind("unbound", ("-d", "-c"), UNBOUND),
    "dnsmasq": Kind("dnsmasq", ("--keep-in-foreground", "--pid-file", "-C"), DNSMASQ),
}


def need(name: str, program: str) -> None:
    """Skip the test if a server is missing, or fail it if it is required."""
    if shutil.which(program) is None:
        require(name, f"no {program}")


@contextmanager
def server(lan: Lan, name: str, kind: Kind, folder: Path) -> Iterator[Path]:
    """Run a server on the peer; yields the file of its log."""
    need(name, kind.program)
    home = folder / name
    (home / "db").mkdir(parents=True, exist_ok=True)
    file, log = home / "server.conf", home / "log"
    if kind in PRIMARIES.values() and not (home / "internal.zone").exists():
        (home / "internal.zone").write_text(ZONE)
    text = Template(kind.text).substitute(
        folder=home, port=PORT, primary=PRIMARY, peer=PEER, secret=SECRET
    )
    file.write_text(text)
    with log.open("a") as output:
        process = lan.peer.spawn(
            kind.program, *kind.arguments, file, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield log
    finally:
        process.terminate()
        process.wait(60)
