"""The settings of updates, as a value: an equal outlet is not restarted."""

from koi_agent.config.dns import Server
from koi_agent.core.frozen import frozen
from koi_agent.core.plan.full_names import Domains


@frozen(kw_only=True)
class UpdateSettings:
    """The DNS server that gets updates, its zone, and the key that signs them.

    ``key_file`` is the path of the file with the secret, "" for the credential ``dns-key.KEY``.
    ``scope`` is that of the agent. ``ttl`` is seconds.
    """

    scope: str
    domains: Domains
    ttl: int
    server: Server | None
    zone: str
    key: str
    key_file: str
    release_on_stop: bool
