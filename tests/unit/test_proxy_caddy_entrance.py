"""The way to Caddy's admin API: through the gate for the system's agent at the usual socket."""

from koi_agent.capabilities.proxy.caddy.entrance import entrance
from koi_agent.config.proxy import AdminAddress
from koi_agent.host.caddy.sockets import ADMIN_SOCKET, GATE_SOCKET, GATE_UNIT

USUAL = AdminAddress(path=ADMIN_SOCKET)


def test_only_the_systems_agent_at_the_usual_socket_has_a_gate() -> None:
    assert entrance("system", USUAL).gate_unit == GATE_UNIT
    assert entrance("user", USUAL).gate_unit == ""
    for other in (AdminAddress(path="/run/x.sock"), AdminAddress(host="127.0.0.1", port=2019)):
        way = entrance("system", other)
        assert (way.address, way.gate_unit) == (other, "")


def test_the_paths_are_those_of_caddy_and_of_its_gate() -> None:
    assert set(entrance("system", USUAL).paths) == {ADMIN_SOCKET, GATE_SOCKET}
    assert entrance("user", USUAL).paths == (ADMIN_SOCKET,)
    assert entrance("system", AdminAddress(host="::1", port=2019)).paths == ()
    assert entrance("system", USUAL).title == f"[Proxy] Caddy={ADMIN_SOCKET}"
