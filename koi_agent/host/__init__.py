"""Interfaces of the host: the kernel's, and those of systemd to a service."""
