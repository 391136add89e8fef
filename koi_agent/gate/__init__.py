"""The gate: the one way to a container engine for an agent that may do nothing there.

Whoever may write to an engine's socket is as good as root. The gate stands before it as a process
of its own, understands a few questions that only read, asks them anew in its own words, and hands
on of each answer what the agent needs. ``requests`` is what may be asked, ``answers`` what is
handed on, ``upstream`` asks the engine, ``server`` is who the agent talks with.
"""
