"""The hook of systemd-resolved: a separate process that answers for the names of instances.

systemd-resolved 259 and later asks the programs behind the sockets in /run/systemd/resolve.hook
before it asks any DNS server (``io.systemd.Resolve.Hook``, over Varlink). If a hook hangs, all
names of the host wait for it. So this process starts fast, uses only the standard library, and
never waits. The agent writes the records into a file, and may stop or hang without an effect on the
hook.

``records`` has the content of the file, ``messages`` those of Varlink, and ``answers`` the rules
from one to the other: all are pure. ``link`` is one connection, ``server`` serves all.
"""
