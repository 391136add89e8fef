"""The outlet for this host: static records of systemd-resolved 261 and later.

``items`` is pure. ``file`` has the file that systemd-resolved reads. With a query, it checks the
file for changes, at most every 2 s, and needs no reload. ``session`` follows systemd-resolved on
the bus. The records cannot delay or leak any other name.
"""
