"""koi-runtime tracks everything that runs on a host and publishes it.

    systemd ─ Listing|Seen|Gone ─▶ registry.apply ─ events ─▶ publishers (dbus http journal status)
    docker    backends/            core/ (pure)          └──▶ announce/, capabilities/

``process.py`` runs the process and ``agent.py`` builds the parts of the agent. ``follow/`` keeps
each backend connected. ``announce/`` plans what capabilities do for each instance and feeds their
providers. ``bus/`` alone speaks D-Bus. ``host/`` alone talks to the service manager that started
the process and to the kernel. ``config/`` reads the configuration. ``cli/`` is a client of the
D-Bus API. ``gate/`` is a process of its own that filters access to an engine's socket, and
``hook/`` one that answers systemd-resolved.
"""

__version__ = "0.1.0"
