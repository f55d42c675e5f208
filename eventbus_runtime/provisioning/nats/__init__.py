"""NATS on each deploy target."""
