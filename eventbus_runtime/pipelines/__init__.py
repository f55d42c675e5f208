"""A user's handlers, from the decorator to the call that a trigger fires for each delivery.

registry    the decorators, and what they registered
signature   a function read once
binding     where each of its parameters comes from
decoding    payloads to values; encoding, the other way round
resources   what opens before a handler and closes after it
pipeline    all of this as one call per delivery
outcome     what a handler hands back
base        what triggers know of pipelines, and pipelines of deliveries
"""
