"""D-Bus: the agent as a client and as a service.

``connection``  one connection to a bus: socket, authentication, whole messages
``signals``     the signals of a connection, of which most are only partly read
``client``      calls and subscriptions, and a bus that is connected to again when it is lost
``blocking``    a connection for one call at a time, without asyncio, for commands
``selection``   a few properties of many objects, read out of one reply
``server``      answers calls for trees of objects
"""
