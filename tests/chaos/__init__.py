"""A server that fails at random and keeps its own journal, its clients, and the comparison."""
