"""The outlet for Caddy: its admin API gets a server of this agent for each port.

``objects`` has what the agent writes, ``configuration`` reads what Caddy has, and ``steps``
compares the two: all are pure. ``admin_api`` sends requests, ``convergence`` sends them until
nothing differs, and ``watch`` waits for changes of others.
"""
