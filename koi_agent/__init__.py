"""koi-runtime knows everything that runs on a host and tells the bus.

    systemd ─ Listing|Seen|Gone ─▶ registry.apply ─ events ─▶ publishers (dbus)
              backends/            core/ (pure)                publishers/

``agent.py`` puts the parts together, ``follow.py`` keeps each backend followed for ever,
``bus/`` is the only door to D-Bus, ``host/`` the only one to the kernel's own interfaces,
``cli/`` a client of the D-Bus interface like any other.
"""

__version__ = "0.1.0"
