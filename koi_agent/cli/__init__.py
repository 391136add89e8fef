"""The command ``koi-runtime``: clients of the D-Bus interface like any other, and ``run``.

``commands`` is the table of them, one module each; ``arguments`` reads what was typed,
``service`` asks the agent, ``records`` makes plain values of its answers, ``table`` and
``output`` show them.
"""
