"""Hands over the breadcrumb of a Koi daemon, which only root may read, to the agent's user.

A separate process, which runs as root for ``koi-runtime-koi.service``. It uses only the standard
library.
"""
