"""Controllers: from MIDI messages to the addresses of the desk, and back to lamps and motor faders."""
