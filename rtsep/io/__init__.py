"""Audio in and out of the process: device drivers behind one protocol, and sound files."""
