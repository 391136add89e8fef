"""The syntax and the specifiers of systemd's unit files."""
