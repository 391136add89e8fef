"""The one schema of instances and backends.

``instance``, ``dictionaries`` and ``backend`` are its tables, ``tables`` and ``types`` what these
are written in. D-Bus, HTTP, the command and their descriptions are loops over the tables.
"""
