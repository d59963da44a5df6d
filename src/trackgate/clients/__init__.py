"""The HTTP engines behind ``trackgate.client``.

``asyncio_engine`` is what production uses, with its connections in ``pool`` and ``connection``; ``httpx_engine`` serves
tests. Both are held to ``tests/clients/test_contract.py``. What they share - the deadline, the cap, what may be sent -
is ``engine``.
"""
