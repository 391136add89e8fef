"""The host's doors: the kernel's own interfaces, and our life under systemd."""
