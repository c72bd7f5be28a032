"""Run one network step, and the hop stream around it."""
