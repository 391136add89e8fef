"""The HTTP API.

Only ``service`` imports ``publisher``, and only when a client connects: ``publisher`` imports
aiohttp. ``listener`` and ``connection`` are the sockets, ``routes`` the table of paths,
``handlers`` the responses, ``sse`` the event streams.
"""
