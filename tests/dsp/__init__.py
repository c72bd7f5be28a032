"""Tests of rtsep.dsp."""
