"""Trackgate: a durable gateway for the *track* calls of analytics vendors."""
