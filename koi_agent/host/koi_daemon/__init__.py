"""The door to a Koi daemon on this host: its credential, its HTTP API, and the agent's entries.

``credential`` reads endpoint and token. ``daemon`` sends requests. ``kinds`` has the entries of
each capability as the daemon lists them, and ``decisions`` is pure: it decides what is done about
one entry. ``intents`` remembers across a kill what the agent has sent, because entries have no
place for a mark. ``keeper`` makes the daemon agree with what is wanted, and ``session`` is the part
of a provider that all capabilities share.
"""
