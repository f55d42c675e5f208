"""Streams and consumers as declared."""
