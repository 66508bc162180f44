"""A server that fails at random and keeps its own books, its clients, and the comparison."""
