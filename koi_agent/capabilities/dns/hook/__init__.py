"""The outlet for this host: answers of a hook to systemd-resolved 259 and later.

``names`` is pure. ``file`` writes the file that the hook reads. The hook is a separate process (see
``services/hook``), so that no name of this host ever waits for the agent. ``session`` follows
systemd-resolved on the bus, and the socket of the hook.
"""
