"""Metrics of separation, and of muting."""
