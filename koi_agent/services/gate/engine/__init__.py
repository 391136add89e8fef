"""The gate of a container engine, for an agent that may only read.

``requests`` holds the allowed requests, ``responses`` the copied fields, and ``profile`` answers.
"""
