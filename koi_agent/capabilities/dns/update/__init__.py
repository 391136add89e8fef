"""The outlet for a DNS server of the network: dynamic updates (RFC 2136), signed by TSIG.

A node is a name in the server's zone, for example that of an instance or of one of its services. A
node that this agent owns has a mark: a TXT record at ``_koi.NODE``. The mark is set and removed in
the same transaction as the records, so that a record without the mark is never changed.
``nodes`` and ``transactions`` are pure. ``writer`` brings the zone into agreement with the nodes.
"""
