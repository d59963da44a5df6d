"""The composition root: builds the whole program from one configuration, runs it, and takes it down in order.

The program has two halves, and they run in one process or in several:

keeper          what one process has alone: the data directory, the ledger, the operators
station         what many may have: the way in, and the way out to some of the destinations

alone           both halves in one process (``workers = 1``)

supervisor      forks the owner and the workers, waits for what becomes of them, and ends them in order
slot            a worker's place, and when it is taken again
signals         what ends the program from outside
supervisor_log  what is logged of all that
owner           the process with the keeper, which serves the outbox to the workers
worker          a process with a station on the owner's outbox
crew            the workers, as the owner asks them
relay           the owner's own paths, as a worker answers them

lifetime        what all of them begin and end alike
child           a forked process, as its parent and as it sees itself
"""
