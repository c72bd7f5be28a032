"""A rig: devices, model, levels, chains, page and OSC of a set, in one validated file."""
