"""What operators ask and order: how it stands, where an event is, what is dead and why, and what to do about it.

requests        what is asked, as it comes
answers         what is said
operator        the operations, over the outbox, its archive and the running gateway, if one runs
tally           the ledger as operators read it, and whether it adds up
rehearsal       what today's configuration would send instead
meter           deliveries a second
web             the operations over HTTP, at ``/-/``
tokens          who may call them where anybody can knock
"""
