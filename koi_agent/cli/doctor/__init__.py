"""``koi-runtime doctor``: what is wrong with the agent and around it, and what to do next.

``examination`` is the table of checks, ``report`` the command; the rest are checks. Nothing that
is asked here starts anything: an agent that is down stays down.
"""
