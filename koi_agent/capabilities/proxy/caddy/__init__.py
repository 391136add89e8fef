"""The outlet for Caddy: the agent adds a server for each port through the admin API.

``steps`` is pure and compares what Caddy has with what is wanted, both in the form of
``host.caddy``. ``admin_api`` sends requests, ``convergence`` sends them until nothing differs, and
``watch`` waits for changes by others.
"""
