"""The HTTP API; importing anything of it imports aiohttp, so only who has a socket to serve does.

``publisher`` puts it together, ``listener`` and ``connection`` are the sockets, ``routes`` the
one table of what can be asked, ``pages`` what is answered, ``streams`` the events.
"""
