"""The gate: a filtering socket proxy before a container engine, or before Caddy's admin API.

A process that may write to an engine's socket can become root, and one that may write to Caddy's
can run as Caddy's user. The gate is a separate process in front of such a socket. It parses a few
requests, writes its own, and copies from each response only the fields that the agent reads.
``profiles`` has a profile for each kind of upstream: ``engine`` lets the agent read, and ``caddy``
lets it change its own objects. ``upstream`` talks to the engine or to Caddy, ``server`` to the
agent.
"""
