"""The addresses of another network namespace, from files of /proc and from the real kernel."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.backends.machined.machines import ips_from
from koi_agent.host.namespace_addresses import addresses_of

ROUTES = """\
Main:
  +-- 0.0.0.0/0 2 0 2
     +-- 10.1.2.0/24 2 0 1
        +-- 10.1.2.0/30 2 0 2
           |-- 10.1.2.0
              /24 link UNICAST
           |-- 10.1.2.3
              /32 host LOCAL
        |-- 10.1.2.77
           /32 host LOCAL
        |-- 10.1.2.255
           /32 link BROADCAST
     |-- 999.1.2.3
        /32 host LOCAL
     |-- 169.254.3.3
        /32 host LOCAL
     |-- 127.0.0.0
        /8 host LOCAL
Local:
     |-- 10.1.2.3
        /32 host LOCAL
"""
INET6 = """\
fe80000000000000e4fb50fffe332447 02 40 20 80    host0
fd000001000000000000000000000005 02 40 00 80    host0
nonsense
fd00 02 40 00 80    host0
"""


def write(processes: Path, routes: str, inet6: str | None) -> Path:
    folder = processes / "7/net"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fib_trie").write_text(routes)
    if inet6 is not None:
        (folder / "if_inet6").write_text(inet6)
    return processes


def test_addresses_have_the_form_of_systemd_machined(tmp_path: Path) -> None:
    rows = addresses_of(7, write(tmp_path, ROUTES, INET6))
    assert ips_from(rows) == ("10.1.2.3", "10.1.2.77", "fd00:1::5")


def test_a_kernel_without_ipv6_has_addresses_of_ipv4(tmp_path: Path) -> None:
    assert ips_from(addresses_of(7, write(tmp_path, ROUTES, None))) == ("10.1.2.3", "10.1.2.77")


def test_of_a_hidden_process_nothing_is_known(tmp_path: Path) -> None:
    assert addresses_of(7, tmp_path) is None


def test_a_namespace_without_addresses_has_none(tmp_path: Path) -> None:
    assert addresses_of(7, write(tmp_path, "", "")) == []


def test_the_kernel_shows_the_addresses_of_this_process() -> None:
    found = addresses_of(os.getpid())
    if not found:
        pytest.skip("no interface is up")
    assert (socket.AF_INET, bytes([127, 0, 0, 1])) in found


@given(st.text(alphabet="0123456789abcdef./|-+ \nhostLOCAL", max_size=80))
def test_any_text_gives_addresses_that_can_be_parsed(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    processes = write(tmp_path_factory.getbasetemp(), f"|-- {text}\n /32 host LOCAL\n", text)
    assert all(isinstance(one, str) for one in ips_from(addresses_of(7, processes)))
