"""systemd's interface for log levels, which ``systemctl service-log-level`` calls.

Its path, members and words are those of org.freedesktop.LogControl1(5).
"""

from typing import Protocol

from koi_agent.bus.interfaces import Emits, Property, interface
from koi_agent.core.dbus_names import NAME
from koi_agent.core.message_ids import IDENTIFIER

LOG_CONTROL = "/org/freedesktop/LogControl1"
ACTION = f"{NAME}.set-log-level"


class LogControl(Protocol):
    """Level and target of the log, in systemd's words; setting another word raises ``BadInput``."""

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
