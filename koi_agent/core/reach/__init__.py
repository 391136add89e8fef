"""Reachability: from which networks a port can be reached, and how this host reaches it."""
