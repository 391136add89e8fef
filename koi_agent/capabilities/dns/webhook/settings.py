"""The settings of this outlet, as a value: an equal outlet is not restarted."""

from koi_agent.core.frozen import frozen


@frozen(kw_only=True)
class WebhookSettings:
    """The webhook at ``url``, "" for none. ``scope`` is that of the agent, ``ttl`` is seconds."""

    scope: str
    url: str
    ttl: int
    release_on_stop: bool
