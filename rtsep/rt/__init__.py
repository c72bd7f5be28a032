"""What runs on the audio thread, or touches its memory: the ring, the native callback, the counters."""
