"""Tests of rtsep.mixer."""
