"""The benchmark: the gateway as a process with its default settings, beside the limits of the machine it runs on.

    python -m bench                 all cases; the table goes to standard output and into docs/benchmark.md
    python -m bench --case drain    one of them, to standard output alone
    python -m bench --list          what there is to measure

Every process has its job: ``sink`` is the upstream, wrk with ``load.lua`` or our own ``generator`` the callers,
``limits`` what bounds us, ``forwarder`` what a user would otherwise write, ``gateway`` the program itself. ``stage``
keeps what the cases share, ``window`` measures, ``cases`` say what, ``table`` and ``report`` are what comes out.
"""
