"""The way out: from the outbox to the upstreams, one dispatcher per destination."""
