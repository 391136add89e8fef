"""The two kinds of engine that speak Docker's API, and where they differ."""

from collections.abc import Mapping
from dataclasses import field
from typing import Final

from koi_agent.core.frozen import frozen
from koi_agent.host.engines import SOCKETS, gate_socket, gate_unit


@frozen(kw_only=True)
class Kind:
    """A kind of engine: where it listens, and how its API differs from the common ground.

    ``name`` is the word in the configuration, ``title`` the engine's own spelling.
    """

    name: str
    title: str
    host_variable: str
    """The environment variable that its own command reads for the engine's address."""
    user_socket: str
    """Its socket below ``$XDG_RUNTIME_DIR``."""
    list_query: Mapping[str, str] = field(default_factory=dict)
    """The query of a list with all containers that run, are paused or restart."""
    is_libpod: bool = False
    """Whether its own API adds the control group and the health to an inspection."""
    has_complete_lists: bool = True
    """Whether a list has the network mode, and each port of a published range of ports."""
    names_unit: bool = False
    """Whether the engine sets the label that names the unit of a container."""
    kill_names_signal: bool = True
    """Whether ``signal`` in a kill event is the signal, and not a label of the container."""
    announces_restart: bool = False
    """Whether a restart by its policy is an event between ``die`` and ``start``."""
    exits_when_idle: bool = False
    """Whether its service exits by itself, ends all streams, and starts with the next request."""

    @property
    def socket(self) -> str:
        """Return the path of the system's engine."""
        return SOCKETS[self.name]

    @property
    def gate_socket(self) -> str:
        """Return the socket path of the gate of the system's engine."""
        return gate_socket(self.name)

    @property
    def gate_unit(self) -> str:
        """Return the path unit that starts and stops the gate with the engine."""
        return gate_unit(self.name)


DOCKER: Final = Kind(
    name="docker",
    title="Docker",
    host_variable="DOCKER_HOST",
    user_socket="docker.sock",
)
PODMAN: Final = Kind(
    name="podman",
    title="Podman",
    host_variable="CONTAINER_HOST",
    user_socket="podman/podman.sock",
    # Without all=1 its list leaves out paused containers, and no filter knows "stopping".
    list_query={"all": "1"},
    is_libpod=True,
    has_complete_lists=False,
    names_unit=True,
    kill_names_signal=False,
    announces_restart=True,
    exits_when_idle=True,
)
KINDS: Final[Mapping[str, Kind]] = {kind.name: kind for kind in (DOCKER, PODMAN)}
