"""The outlet for external-dns' webhook providers: names go to them over HTTP.

A provider has neither transactions nor conditions. So the agent first marks a name by a TXT record
at ``_koi.NAME``, and reads the mark back before it adds an address. It removes the addresses before
the mark. ``listing`` has what a provider has, ``decisions`` compares it with what is wanted, and
``changes`` writes the difference: they are pure. ``writer`` and ``session`` send.
"""
