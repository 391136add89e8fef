"""The responder: an authoritative DNS server for the zones (RFC 1034), without recursion.

``answers`` is pure. ``udp`` and ``tcp`` move messages, ``notifier`` notifies secondary servers of
changes, and ``session`` connects these.
"""
