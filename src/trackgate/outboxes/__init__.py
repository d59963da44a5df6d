"""Outboxes: one implementation each, all held to the laws in ``tests/outboxes/test_laws.py``.

face      the protocol on the event loop, over whatever does its jobs
jobs      what is asked and answered: plain values
counts    what is counted, and the ledger that it makes
times     times as integers
sqlite    the embedded one, in the process that has the data directory
remote    the same one, reached from another process through a socket
"""
