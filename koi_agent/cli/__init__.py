"""The command ``koi-runtime``: clients of the D-Bus interface, and ``run``, the agent itself.

``syntax`` is the table of commands, and ``commands`` executes them. Each command is a module, and
``doctor`` a package. ``arguments`` and ``parser`` parse the command line. ``client`` calls the
agent and waits; ``async_client`` does so beside other tasks. ``summary`` reads a part of all
instances, ``instances`` reads them whole, ``resolve`` finds those that are named.
``records`` reads replies, ``table`` and ``output`` write them.
"""
