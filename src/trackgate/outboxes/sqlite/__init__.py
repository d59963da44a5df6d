"""The embedded outbox: SQLite in the data directory, written by one thread.

outbox        the outbox on the event loop
queue         the requests on their way to the writer
writer        the one thread that writes: many requests, one transaction, one fsync
transaction   what one transaction does, kind by kind:
append        new events,
take          deliveries to hand out,
live, tail    those of them that go ahead of a backlog,
settle        what became of them,
operate       and what operators order
books         what is counted, kept in memory beside the file,
accounts      and where each destination stands
sweep         retention
room          free space and ballast
limits        what bounds it all
database      the connection, the schema, the named statements (``*.sql``)
rows          rows as bound values
reader        reading, also from another process
lock          one process owns a data directory
checksum      a checksum with every event
check         whether the file is as it was written
salvage       a damaged file at the start:
pages, log    what can still be read, past SQLite,
shapes        what it is,
recount       and how it is made to add up again
"""
