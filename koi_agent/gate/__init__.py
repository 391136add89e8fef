"""The gate: a filtering socket proxy before a container engine, for an agent that may only read.

A process that may write to an engine's socket can become root. The gate is a process of its own
before that socket. It parses a few read requests, sends them to the engine in its own words, and
copies from each response only the fields that the agent reads. ``requests`` holds the
allowed requests, ``responses`` the copied fields; ``upstream`` talks to the engine, ``server`` to
the agent.
"""
