"""systemd's interface for log levels: ``systemctl service-log-level`` asks for it at its path.

org.freedesktop.LogControl1(5) has the names and the words.
"""

from typing import Protocol

from koi_agent.bus.interfaces import Emits, Property, interface
from koi_agent.core.dbus_names import NAME
from koi_agent.core.message_ids import IDENTIFIER

LOG_CONTROL = "/org/freedesktop/LogControl1"
ACTION = f"{NAME}.set-log-level"


class LogControl(Protocol):
    """What is controlled: systemd's words; to set another word raises ``BadInput``."""

    level: str
    target: str


def _set_level(control: LogControl, word: str) -> None:
    control.level = word


def _set_target(control: LogControl, word: str) -> None:
    control.target = word


LOG_CONTROL_INTERFACE = interface(
    "org.freedesktop.LogControl1",
    Property(
        "LogLevel", "s", Emits.FALSE, lambda control: control.level, set=_set_level, action=ACTION
    ),
    Property(
        "LogTarget",
        "s",
        Emits.FALSE,
        lambda control: control.target,
        set=_set_target,
        action=ACTION,
    ),
    Property("SyslogIdentifier", "s", Emits.FALSE, lambda _control: IDENTIFIER),
)
