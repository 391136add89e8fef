"""The gate of Incus or LXD, for an agent that may only read.

``requests`` holds the allowed requests, ``responses`` the copied fields, and ``profile`` answers.
The server sends its events over a WebSocket; the agent gets them as lines.
"""
