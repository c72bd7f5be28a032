"""Effect chains on stems and on the mix: files, plug-ins, what they cost in latency, and their parameters."""
