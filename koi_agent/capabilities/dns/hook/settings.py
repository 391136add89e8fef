"""The settings of the hook, as a value."""

from pathlib import Path
from typing import Final

from koi_agent.core.frozen import frozen
from koi_agent.core.plan.full_names import Domains

UNIT: Final = "koi-runtime-hook.socket"
SERVICE: Final = "koi-runtime-hook.service"
NO_SOCKET: Final = f"{UNIT} is not active; use systemctl enable --now {UNIT}"
NO_SERVICE: Final = f"{SERVICE} is not active; use systemctl start {SERVICE}"


@frozen(kw_only=True)
class HookSettings:
    """Settings of the hook: ``address`` is that of the system bus, ``file`` what the hook reads.

    ``socket`` is where systemd-resolved connects to the hook, and ``service`` is the directory of
    the hook, which exists while systemd runs it. ``obstacle`` is the reason why systemd-resolved
    does not connect, "" for none.
    """

    address: str
    file: Path
    socket: Path
    service: Path
    domains: Domains
    ttl: int
    obstacle: str = ""

    def missing(self) -> str:
        """Return which part of the hook is missing now, and the command that starts it; or ""."""
        if not self.socket.exists():
            return NO_SOCKET
        return "" if self.service.exists() else NO_SERVICE
