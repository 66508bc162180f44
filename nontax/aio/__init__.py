"""The client in an event loop: one descriptor on `loop.add_reader`, and no thread for each call."""
