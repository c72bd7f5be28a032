"""What is printed to reach the page."""

from __future__ import annotations

import ipaddress

import pytest

from rtsep.page.address import is_loopback, own_address, page_address, qr_code


@pytest.mark.parametrize(
    ("bind", "loopback"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True), ("0.0.0.0", False),
     ("::", False), ("192.168.1.5", False), ("booth.local", False)],
)  # fmt: skip
def test_loopback_is_known(bind: str, loopback: bool) -> None:
    assert is_loopback(bind) is loopback


def test_addresses() -> None:
    assert page_address("127.0.0.1", 80, None) == "http://127.0.0.1:80/"
    assert page_address("::1", 8377, "t") == "http://[::1]:8377/?token=t"
    ipaddress.ip_address(own_address())
    assert page_address("0.0.0.0", 1, "t") == f"http://{own_address()}:1/?token=t"


def test_the_code_is_drawn_in_text() -> None:
    drawn = qr_code("http://192.168.1.5:8377/?token=" + "x" * 32)
    lines = [line for line in drawn.splitlines() if line.strip()]
    assert 15 < len(lines) < 40
