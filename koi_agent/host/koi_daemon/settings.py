"""The settings of a Koi daemon, as a value: an equal provider is not restarted."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from koi_agent.config import Config
from koi_agent.core.frozen import frozen
from koi_agent.host.state import state_directory

_LOCAL: Final = "breadcrumb"


@frozen(kw_only=True)
class KoiSettings:
    """The settings of ``[Koi]``, "" for none, and the ``scope`` of the agent.

    With a fallback, the session does not wait for a daemon that does not answer.
    """

    scope: str
    endpoint: str = ""
    token_file: str = ""
    has_fallback: bool = False

    @property
    def absence(self) -> str:
        """The reason without a session."""
        where = f" at {self.endpoint}" if self.endpoint else ""
        return f"the Koi daemon{where} does not answer yet"

    def intents_file(self, kind: str, environment: Mapping[str, str]) -> Path:
        """Return the path of the file with what the agent has sent, for one kind of entries.

        Without a configured endpoint, the daemon of this host keeps its entries at any port.
        """
        import hashlib  # noqa: PLC0415 - few agents need it

        where = hashlib.sha256((self.endpoint or _LOCAL).encode()).hexdigest()[:16]
        return state_directory(self.scope, environment) / f"koi-{kind}-{where}"

    def has_intents(self, kind: str) -> bool:
        """Return True if a daemon may have entries of an earlier run."""
        try:
            return self.intents_file(kind, os.environ).stat().st_size > 0
        except OSError:
            return False


def koi_settings(config: Config) -> KoiSettings:
    """Return the settings in a configuration."""
    koi = config.koi
    return KoiSettings(scope=config.scope, endpoint=koi.endpoint, token_file=koi.token_file)
