"""Where the page is reached, and the picture of it that a phone's camera reads."""

from __future__ import annotations

import io
import ipaddress
import socket

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def is_loopback(host: str) -> bool:
    """Whether an address to bind to is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def own_address() -> str:
    """The address by which this machine is reached from its network; 127.0.0.1 where it has none.

    A datagram socket that is "connected" sends nothing: it only asks the system which way it would go. The
    address is one that documents use (RFC 5737).
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def page_address(bind: str, port: int, token: str | None) -> str:
    """What is typed or scanned to reach the page."""
    try:
        anywhere = ipaddress.ip_address(bind).is_unspecified
    except ValueError:
        anywhere = False
    host = own_address() if anywhere else bind
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{port}/" + (f"?token={token}" if token else "")


def qr_code(address: str) -> str:
    """The address as a QR code in text, half a character a module."""
    import segno

    drawn = io.StringIO()
    segno.make(address, error="m").terminal(drawn, compact=True, border=2)
    return drawn.getvalue()
