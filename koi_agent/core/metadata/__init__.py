"""The metadata of an instance: its keys, the parser, and the rules for each kind of value."""
