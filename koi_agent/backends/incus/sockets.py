"""The sockets on which a server may listen, in the order in which they are tried."""

from koi_agent.backends.http_engine.socket_errors import UnixSocket
from koi_agent.backends.incus.kinds import Kind


def find_sockets(kind: Kind, configured: str, scope: str) -> tuple[UnixSocket, ...]:
    """Return the sockets to try; ``configured`` is the only one, unless it is "".

    A user's agent does not look at the system's servers unless that is configured.
    """
    if configured:
        return (UnixSocket(configured),)
    if scope != "system":
        return ()
    usual = (UnixSocket(path, kind.gate_unit) for path in kind.sockets)
    return (UnixSocket(kind.gate_socket), *usual)
