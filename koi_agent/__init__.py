"""koi-runtime knows everything that runs on a host and tells who wants to know.

    systemd ─ Listing|Seen|Gone ─▶ registry.apply ─ events ─▶ publishers (dbus http journal status)
              backends/            core/ (pure)               publishers/

``agent.py`` puts the parts together, ``followers.py`` and ``follow.py`` keep each backend
followed for ever, ``web.py`` and ``listening.py`` open HTTP where there is a socket for it.
``bus/`` is the only door to D-Bus, ``host/`` the only one to systemd as our parent and to the
kernel's own interfaces, ``config/`` to our files; ``cli/`` is a client of the D-Bus interface like
any other.
"""

__version__ = "0.1.0"
