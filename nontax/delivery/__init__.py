"""The rules of durable delivery: states, transitions, stores, and what settles a bill in doubt."""
