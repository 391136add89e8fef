"""The settings of the hook, as a value."""

from pathlib import Path
from typing import Final

from koi_agent.core.frozen import frozen
from koi_agent.core.plan.full_names import Domains

UNIT: Final = "koi-runtime-hook.socket"
NO_SOCKET: Final = f"{UNIT} is not active; use systemctl enable --now {UNIT}"


@frozen(kw_only=True)
class HookSettings:
    """Settings of the hook: ``address`` is that of the system bus, ``file`` what the hook reads.

    ``socket`` is where systemd-resolved connects to the hook. ``obstacle`` is the reason why it
    does not, "" for none.
    """

    address: str
    file: Path
    socket: Path
    domains: Domains
    ttl: int
    obstacle: str = ""
