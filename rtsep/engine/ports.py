"""Where remote controls find rtsep, unless it is told otherwise."""

from __future__ import annotations

PAGE_PORT = 8377
"""TCP, of the control page."""

OSC_PORT = 9377
"""UDP."""
