"""The command ``koi-runtime``: clients of the D-Bus interface, and ``run``, the agent itself.

``commands`` is the table of commands. Each command is a module, and ``doctor`` a package.
``arguments`` parses the command line, ``resolve`` finds the named instances, ``client`` calls the
agent, ``records`` reads its replies, ``table`` and ``output`` write them.
"""
