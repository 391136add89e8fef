"""Sinks of the registry's events: D-Bus, HTTP, the journal and systemd's status line."""
