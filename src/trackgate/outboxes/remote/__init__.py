"""The outbox in another process, reached through a socket in the data directory.

outbox    where the events are taken and delivered
server    the other end, where the data directory is,
peer      and one of the connections to it
frames    what passes between them
"""
