"""The worker between the rings, its lifecycle, its latency and its telemetry."""
