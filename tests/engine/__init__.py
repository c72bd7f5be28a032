"""Tests of rtsep.engine."""
