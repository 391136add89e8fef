"""The socket of Caddy's admin API for which there is a gate, and the gate's own."""

from typing import Final

from koi_agent.host.engines import gate_socket, gate_unit

CADDY: Final = "caddy"
ADMIN_SOCKET: Final = "/run/caddy/admin.sock"
"""The usual socket. Its path unit opens the gate when it exists."""
GATE_SOCKET: Final = gate_socket(CADDY)
GATE_UNIT: Final = gate_unit(CADDY)
