"""The one table of all that can be set: a new key is a new row.

Files are read by it, and ``koi-runtime cat-config`` and the tests follow it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from koi_agent.config import readers
from koi_agent.config.settings import Config
from koi_agent.core.metadata.values import unit_boolean


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of the file, and what else may say its value.

    ``attribute`` is the value's place in ``Config``. The assignments of ``many`` add up until an
    empty one; of others the last one counts. An empty assignment means ``emptied``, or the
    default where that is ``None``. ``said`` reads ``variable`` and ``flag`` where these speak
    otherwise than the file.
    """

    section: str
    key: str
    default: str
    read: Callable[[str], object]
    attribute: str
    many: bool = False
    emptied: str | None = None
    variable: str = ""
    flag: str = ""
    said: Callable[[str], object] | None = None

    def of(self, config: Config) -> object:
        """Find this key's value."""
        return attrgetter(self.attribute)(config)


KEYS: Final = (
    Key(
        section="Runtime",
        key="Backends",
        default="auto",
        read=readers.listed_backends,
        attribute="backends",
        variable="KOI_RUNTIME",
        flag="--runtime",
        said=readers.backends,
    ),
    Key(
        section="Runtime",
        key="ResyncInterval",
        default="60s",
        read=readers.resync_interval,
        attribute="resync_interval",
    ),
    Key(
        section="Runtime",
        key="RestartGrace",
        default="2s",
        read=readers.restart_grace,
        attribute="restart_grace",
    ),
    Key(
        section="Runtime",
        key="StaleAfter",
        default="10min",
        read=readers.stale_after,
        attribute="stale_after",
    ),
    Key(
        section="Runtime",
        key="LogLevel",
        default="info",
        read=readers.log_level,
        attribute="log_level",
        variable="KOI_LOG_LEVEL",
        flag="--log-level",
    ),
    Key(
        section="Docker",
        key="Socket",
        default="",
        read=readers.engine_socket,
        attribute="docker.socket",
    ),
    Key(
        section="Podman",
        key="Socket",
        default="",
        read=readers.engine_socket,
        attribute="podman.socket",
    ),
    Key(
        section="Systemd",
        key="Units",
        default="*.service",
        read=readers.unit_patterns,
        attribute="systemd.units",
        many=True,
    ),
    Key(
        section="Systemd",
        key="ExcludeUnits",
        default="user@*.service user-runtime-dir@*.service systemd-*.service",
        read=readers.unit_patterns,
        attribute="systemd.exclude_units",
        many=True,
        emptied="",
    ),
    Key(
        section="Systemd",
        key="TrackExited",
        default="no",
        read=unit_boolean,
        attribute="systemd.track_exited",
    ),
    Key(
        section="HTTP",
        key="Listen",
        default="",
        read=readers.listeners,
        attribute="http.listen",
        many=True,
        emptied="",
    ),
    Key(
        section="Capabilities",
        key="MDNS",
        default="auto",
        read=readers.mdns,
        attribute="capabilities.mdns",
    ),
    Key(
        section="Capabilities",
        key="Health",
        default="auto",
        read=readers.health,
        attribute="capabilities.health",
    ),
    Key(
        section="Capabilities",
        key="PartnerLabels",
        default="yes",
        read=unit_boolean,
        attribute="capabilities.partner_labels",
    ),
    Key(
        section="Health",
        key="Interval",
        default="30s",
        read=readers.health_interval,
        attribute="health.interval",
    ),
    Key(
        section="Health",
        key="Timeout",
        default="5s",
        read=readers.health_timeout,
        attribute="health.timeout",
    ),
    Key(
        section="Health",
        key="UnhealthyAfter",
        default="3",
        read=readers.unhealthy_after,
        attribute="health.unhealthy_after",
    ),
    Key(
        section="Health",
        key="WithdrawUnhealthy",
        default="yes",
        read=unit_boolean,
        attribute="health.withdraw_unhealthy",
    ),
)
SECTIONS: Final = tuple(dict.fromkeys(row.section for row in KEYS))
