"""The services beside the agent: separate processes, each with one right that the agent lacks.

``gate`` may write to the socket of an engine or of Caddy, ``handover`` may read a file of root, and
``hook`` answers systemd-resolved while the agent is stopped. None of them imports another.
"""
