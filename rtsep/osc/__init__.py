"""OSC: the desk's addresses over UDP, and its state and meters sent back."""
