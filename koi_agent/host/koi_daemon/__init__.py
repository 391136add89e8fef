"""The door to a Koi daemon on this host: its credential, its HTTP API, and the agent's entries.

``credential`` reads endpoint and token. ``daemon`` sends requests. ``kinds`` has the entries of
each capability as the daemon lists them, and ``decisions`` is pure: what is done about one entry.
``intents`` keeps what the agent has sent over a kill, because entries have no place for a mark.
``keeper`` converges, and ``session`` is the part of a provider that all capabilities share.
"""
