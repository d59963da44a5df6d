"""Outboxes: one implementation each, all held to the laws in ``tests/outboxes/test_laws.py``.

SQLite, the embedded one, is ``trackgate.outboxes.sqlite``; the files beside it are its parts:

    face               the asynchronous face, on the event loop, over whatever does its jobs
    sqlite             the outbox in this process
    sqlite_writer      the one thread that writes: many requests, one transaction, one fsync
    sqlite_transaction what one transaction does, kind by kind:
    sqlite_append      new events,
    sqlite_take        deliveries to hand out,
    sqlite_settle      and what became of them
    sqlite_books       what is counted, kept in memory beside the file
    sqlite_sweep       retention
    sqlite_room        free space and ballast
    sqlite_database    the connection, the schema, the named queries (``*.sql``)
    sqlite_lock        one process owns a data directory
    sqlite_reader      reading from another process
    remote             the outbox in another process, reached through a socket
    remote_server      the other end: what serves it there,
    remote_peer        and one of the connections to it
    remote_frames      what passes between them
"""
