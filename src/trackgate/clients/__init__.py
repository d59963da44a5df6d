"""The HTTP engines behind ``trackgate.client``.

``pyreqwest_engine`` is what production uses; ``httpx_engine`` serves tests and what pyreqwest cannot do. Both are held
to ``tests/clients/test_contract.py``. What they share - the deadline, the cap, what may be sent - is ``engine``.
"""
