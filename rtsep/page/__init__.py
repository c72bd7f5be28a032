"""The control page: served by the controlling process, drawn by a phone, tied to a desk by a WebSocket."""
