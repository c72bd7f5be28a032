"""Channel strips: gain, mute and solo of every stem, their sum, and what guards it."""
