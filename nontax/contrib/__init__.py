"""What needs another framework."""
