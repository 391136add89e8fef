"""The outlet for Caddy: its admin API gets a server of this agent for each port.

``steps`` is pure and compares what Caddy has with what is wanted, both as ``host.caddy`` has them.
``admin_api`` sends requests, ``convergence`` sends them until nothing differs, and ``watch`` waits
for changes of others.
"""
