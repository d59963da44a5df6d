"""The way out: from the outbox to the upstreams, one worker per destination."""
