"""The root object's properties."""

from koi_agent.bus.interfaces import Emits, Property
from koi_agent.core.events import BackendState, BackendStatus
from koi_agent.core.frozen import frozen
from koi_agent.publishers.dbus.configuration import ConfigurationStatus


@frozen(kw_only=True)
class ManagerProperties:
    """The source of the root object's properties.

    ``phase`` is starting, reloading or stopping, "" while the agent serves.
    """

    version: str
    phase: str
    backends: tuple[BackendStatus, ...]
    instances: int
    generation: int
    configuration: ConfigurationStatus

    @property
    def active(self) -> bool:
        return any(backend.state is BackendState.SYNCED for backend in self.backends)

    @property
    def without_counts(self) -> tuple[str, bool, list[str]]:
        """The properties whose changes are signalled without delay."""
        return self.state, self.active, [backend.name for backend in self.backends]

    @property
    def state(self) -> str:
        """The phase, or else the state that follows from those of the backends."""
        good = (BackendState.SYNCED, BackendState.ABSENT)
        serving = "running" if all(b.state in good for b in self.backends) else "degraded"
        return self.phase or serving


PROPERTIES = (
    Property("Version", "s", Emits.CONST, lambda manager: manager.version),
    Property("Active", "b", Emits.TRUE, lambda manager: manager.active),
    Property("State", "s", Emits.TRUE, lambda manager: manager.state),
    Property("Backends", "as", Emits.TRUE, lambda manager: [b.name for b in manager.backends]),
    Property("InstanceCount", "u", Emits.TRUE, lambda manager: manager.instances),
    Property("Generation", "t", Emits.FALSE, lambda manager: manager.generation),
    Property("Settings", "a(ssss)", Emits.INVALIDATES, lambda m: m.configuration.settings),
    Property("ReloadError", "s", Emits.TRUE, lambda m: m.configuration.reload_error),
)
