"""``koi-runtime doctor``: checks the installation, and shows what to do about each problem.

``examination`` is the table of checks, ``report`` the command; the other modules are checks. No
check starts a service: an agent that does not run is not started.
"""
