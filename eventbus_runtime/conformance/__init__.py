"""The conformance suite: what any bus or provider can be held to (S-70 to S-72)."""
