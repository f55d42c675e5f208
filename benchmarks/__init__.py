"""Races of eventbus-runtime against other ways to consume from and publish to JetStream. See README.md."""
