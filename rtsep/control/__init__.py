"""What a performer touches, by MIDI, OSC, page or program: parameters by address, gestures, snapshots."""
