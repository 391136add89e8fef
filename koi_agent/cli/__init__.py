"""The command ``koi-runtime``: clients of the D-Bus interface like any other, and ``run``.

``commands`` is the table of them, one module each, and ``doctor`` a package of them;
``arguments`` reads what was typed, ``naming`` finds the instances that are meant, ``service``
asks the agent, ``records`` makes plain values of its answers, ``table`` and ``output`` show
them.
"""
