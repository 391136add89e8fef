"""The gate of Caddy's admin API, for an agent that may change its own objects only.

A process that may write to this API can read files, run as Caddy's user, and replace the whole
configuration. ``requests`` holds the allowed requests, ``views`` reduces the configuration that
the agent reads, ``bodies`` checks and spells what it writes, and ``profile`` answers.
"""
