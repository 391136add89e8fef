"""The part of Caddy's configuration that belongs to the agent.

The proxy changes only this part, and the gate in front of Caddy passes only this part. Neither
imports the other, so both import this package. ``objects`` has what the agent writes;
``configuration`` reads what Caddy has.
"""
