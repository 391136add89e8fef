"""Caddy's configuration: what of it is the agent's.

The proxy changes only this, and the gate in front of Caddy passes only this. Neither imports the
other, so both import this. ``objects`` has what the agent writes; ``configuration`` reads what
Caddy has.
"""
