"""The page as a thumb meets it: in Chromium, on a phone and on a tablet."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from rtsep.control.session import Session
from rtsep.page.server import PageServer
from tests import waiting
from tests.browser import chromium, needs_browser

pytestmark = [pytest.mark.realtime, needs_browser]

PHONE, TABLET = ViewportSize(width=320, height=640), ViewportSize(width=1024, height=768)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def server(session: Session) -> Iterator[PageServer]:
    with PageServer(session, port=0) as running:
        yield running


@pytest.fixture
def opened(browser: Browser, server: PageServer) -> Iterator[Callable[..., Page]]:
    """Opens pages of this server; at the end none of them may have complained, of its policy least of all."""
    contexts = []
    complaints: list[str] = []

    def visit(size: ViewportSize = PHONE, **options: Any) -> Page:
        context = browser.new_context(viewport=size, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.goto(server.address)
        expect(page.get_by_role("slider", name="vocals level")).to_be_visible()
        return page

    yield visit
    for context in contexts:
        context.close()
    # What a browser says of a server that is away is no fault of the page.
    assert not [text for text in complaints if "ERR_CONNECTION_REFUSED" not in text]


def until(condition: Callable[[], object], page: Page) -> None:
    """Wait, while the page goes on."""
    waiting.until(condition, pause=lambda seconds: page.wait_for_timeout(1000 * seconds))


def drag(page: Page, name: str, pixels: float, *, let_go: bool = True) -> None:
    box = page.get_by_role("slider", name=name).bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y + pixels, steps=5)
    if let_go:
        page.mouse.up()


@pytest.mark.parametrize("size", [PHONE, TABLET], ids=["phone", "tablet"])
def test_a_fader_moves_the_desk_and_never_jumps(
    session: Session, opened: Callable[..., Page], size: ViewportSize
) -> None:
    page = opened(size)
    session.desk.set_gain("vocals", -20.0)
    fader = page.get_by_role("slider", name="vocals level")
    expect(fader).to_have_attribute("aria-valuetext", "-20.0 dB")
    drag(page, "vocals level", 0.0)
    assert session.desk.get("stem/vocals/gain") == -20.0
    before = session.desk.get_normalised("stem/vocals/gain")
    drag(page, "vocals level", -30.0)
    length = fader.locator(".track").evaluate("track => track.clientHeight")
    wanted = before + 30.0 / length
    until(lambda: abs(session.desk.get_normalised("stem/vocals/gain") - wanted) < 0.01, page)
    assert session.desk.get("stem/drums/gain") == 0.0


def test_a_second_page_follows_and_a_held_fader_is_not_fought(
    session: Session, opened: Callable[..., Page]
) -> None:
    one, two = opened(PHONE), opened(TABLET)
    drag(one, "drums level", 40.0, let_go=False)
    until(lambda: float(session.desk.get("stem/drums/gain")) < -1.0, one)
    own = one.get_by_role("slider", name="drums level")
    other = two.get_by_role("slider", name="drums level")
    expect(other).to_have_attribute("aria-valuetext", re.compile(r"-\d"))
    held = own.get_attribute("aria-valuetext")
    assert held is not None
    expect(other).to_have_attribute("aria-valuetext", held)
    # Somebody else moves it while the finger is still there.
    session.desk.set_gain("drums", 5.0)
    expect(other).to_have_attribute("aria-valuetext", "+5.0 dB")
    expect(own).to_have_attribute("aria-valuetext", held)
    one.mouse.up()
    expect(own).to_have_attribute("aria-valuetext", "+5.0 dB")


def test_two_taps_bring_the_default_back(session: Session, opened: Callable[..., Page]) -> None:
    page = opened(PHONE, has_touch=True)
    session.desk.set_gain("bass", -12.0)
    fader = page.get_by_role("slider", name="bass level")
    expect(fader).to_have_attribute("aria-valuetext", "-12.0 dB")

    # Two taps are two only if they follow each other soon enough, which a busy machine may prevent.
    def tapped() -> bool:
        fader.tap()
        fader.tap()
        page.wait_for_timeout(200)
        return session.desk.get("stem/bass/gain") == 0.0

    until(tapped, page)


def test_two_fingers_move_two_faders(session: Session, opened: Callable[..., Page]) -> None:
    page = opened(PHONE, has_touch=True)
    touch = page.context.new_cdp_session(page)
    boxes = [page.get_by_role("slider", name=f"{stem} level").bounding_box() for stem in ("vocals", "other")]
    fingers = [
        {"x": box["x"] + 20, "y": box["y"] + 60, "id": k} for k, box in enumerate(b for b in boxes if b)
    ]
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": fingers})
    for _ in range(4):
        for finger in fingers:
            finger["y"] += 10
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": fingers})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    until(lambda: all(float(session.desk.get(f"stem/{s}/gain")) < -1.0 for s in ("vocals", "other")), page)


def test_everything_goes_by_keyboard(session: Session, opened: Callable[..., Page]) -> None:
    page = opened(TABLET)
    page.get_by_role("slider", name="vocals level").focus()
    for key, db in (("ArrowDown", -1.0), ("PageDown", -7.0), ("ArrowUp", -6.0), ("0", 0.0), ("End", 12.0)):
        page.keyboard.press(key)
        until(lambda db=db: abs(float(session.desk.get("stem/vocals/gain")) - db) < 0.01, page)
    page.keyboard.press("Home")
    until(lambda: session.desk.get_normalised("stem/vocals/gain") == 0.0, page)
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Mute vocals")).to_be_focused()
    page.keyboard.press("Space")
    until(lambda: session.desk.get("stem/vocals/mute") is True, page)
    expect(page.get_by_role("button", name="Mute vocals")).to_have_attribute("aria-pressed", "true")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.get_by_role("button", name="Panic").focus()
    page.keyboard.press("Enter")
    until(lambda: session.desk.get("master/panic") is True, page)


def test_a_screen_reader_finds_a_name_for_everything(opened: Callable[..., Page]) -> None:
    page = opened(TABLET)
    for details in page.locator("main details").all():
        details.evaluate("element => { element.open = true; }")
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    roles: dict[str, list[str]] = {}
    for node in tree:
        if not node.get("ignored"):
            roles.setdefault(node["role"]["value"], []).append(node.get("name", {}).get("value", ""))
    assert {"vocals level", "drums level", "bass level", "other level", "master level"} <= set(
        roles["slider"]
    )
    assert {"Mute vocals", "Solo other", "Instrumental", "Keep", "Change"} <= set(roles["button"])
    for role in ("slider", "button", "combobox", "textbox", "region", "group", "image"):
        names = roles.get(role, [])
        assert all(name.strip() for name in names), (role, names)
    for role in ("slider", "button"):
        assert len(set(roles[role])) == len(roles[role]), f"two {role}s have one name"
    for slider in page.get_by_role("slider").all():
        low, now, high = (
            float(slider.get_attribute(f"aria-value{w}") or "nan") for w in ("min", "now", "max")
        )
        assert low <= now <= high


@pytest.mark.parametrize("size", [PHONE, TABLET], ids=["phone", "tablet"])
def test_thumbs_have_room(opened: Callable[..., Page], size: ViewportSize) -> None:
    page = opened(size)
    for details in page.locator("main details").all():
        details.evaluate("element => { element.open = true; }")
    for element in page.locator("main button, main select, .fader, footer button, summary").all():
        if element.is_visible():
            box = element.bounding_box()
            assert box is not None and box["height"] >= 48 and box["width"] >= 48, (box, element.inner_text())
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
        "nothing is cut off at the side"
    )
    # What is wrong is said in words, not by colour alone, and stays in sight.
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    expect(page.locator("#underruns")).to_be_in_viewport()
    expect(page.locator("#underruns")).to_contain_text("underruns 0")
    expect(page.locator("#late")).to_contain_text("late hops 0")
    expect(page.get_by_role("button", name="Panic")).to_be_in_viewport()


def test_a_server_that_comes_back_finds_its_page_again(
    session: Session, opened: Callable[..., Page], server: PageServer
) -> None:
    page = opened(PHONE)
    server.__exit__(None, None, None)
    expect(page.locator("#state")).to_have_text("not connected")
    expect(page.locator("#banner")).to_contain_text("trying again")
    session.desk.set_mute("drums")
    with PageServer(session, port=server.port):
        expect(page.get_by_role("button", name="Mute drums")).to_have_attribute("aria-pressed", "true")
        expect(page.locator("#banner")).to_be_hidden()
        page.get_by_role("button", name="Mute bass").click()
        until(lambda: session.desk.get("stem/bass/mute") is True, page)


def test_snapshots_by_thumb(session: Session, opened: Callable[..., Page]) -> None:
    page = opened(PHONE)
    session.desk.set_gain("drums", -9.0)
    page.get_by_label("Name").fill("verse one")
    page.get_by_role("button", name="Keep").click()
    recall = page.get_by_role("button", name="Recall verse one")
    expect(recall).to_be_visible()
    session.desk.set_gain("drums", 3.0)
    recall.click()
    until(lambda: session.desk.get("stem/drums/gain") == -9.0, page)
    expect(recall).to_have_attribute("aria-current", "true")
    page.get_by_role("button", name="Forget").click()
    page.get_by_role("button", name="Forget verse one").click()
    until(lambda: session.desk.snapshots == (), page)
    page.get_by_label("Morph of recalls").select_option("4000")
    until(lambda: session.desk.get("snapshot/morph") == pytest.approx(4000.0), page)


def test_another_model_takes_two_presses(session: Session, opened: Callable[..., Page]) -> None:
    page = opened(TABLET)
    page.get_by_text("Model and device").click()
    page.get_by_role("combobox", name="Model").select_option("other")
    page.get_by_role("button", name="Change").click()
    page.wait_for_timeout(100)
    assert not session.pending
    page.get_by_role("button", name="press again").click()
    until(lambda: session.pending, page)


def test_effects_and_midi_are_drawn_only_where_there_are_any(opened: Callable[..., Page]) -> None:
    page = opened(PHONE)
    expect(page.locator("#effects")).to_be_hidden()
    expect(page.locator("#learn")).to_be_hidden()


class FakeMidi:
    status = ""
    asked: tuple[str, ...] = ()

    def start(self, address: str) -> None:
        self.asked = (*self.asked, address)
        self.status = f"move a control for {address}"

    def cancel(self) -> None:
        self.status = ""


def test_midi_learns_what_is_touched_and_does_not_move_it(session: Session, browser: Browser) -> None:
    midi = FakeMidi()
    with PageServer(session, port=0, learning=midi) as server:
        page = browser.new_page(viewport=PHONE)
        page.goto(server.address)
        page.get_by_role("button", name="MIDI learn").click()
        page.get_by_role("button", name="Mute bass").click()
        until(lambda: midi.asked == ("stem/bass/mute",), page)
        expect(page.locator("#learning")).to_contain_text("move a control for stem/bass/mute")
        assert session.desk.get("stem/bass/mute") is False
        page.get_by_role("button", name="MIDI learn").click()
        page.get_by_role("button", name="Mute bass").click()
        until(lambda: session.desk.get("stem/bass/mute") is True, page)
        page.close()


def test_an_address_without_its_token_shows_nothing(session: Session, browser: Browser) -> None:
    with PageServer(session, port=0, token="x" * 32) as server:
        page = browser.new_page()
        answer = page.goto(server.address.split("?")[0])
        assert answer is not None and answer.status == 403
        page.goto(server.address)
        expect(page.get_by_role("slider", name="vocals level")).to_be_visible()
        page.close()


def test_nothing_is_loaded_from_elsewhere(opened: Callable[..., Page], server: PageServer) -> None:
    page = opened(PHONE)
    loaded = page.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
    assert len(loaded) >= 10
    assert all(name.startswith(server.address) for name in loaded)


TWO_DECKS = pytest.mark.parametrize("session", [2], indirect=True, ids=["two decks"])


@TWO_DECKS
@pytest.mark.parametrize("size", [PHONE, TABLET], ids=["phone", "tablet"])
def test_two_decks_have_tabs_a_crossfader_and_swaps(
    session: Session, opened: Callable[..., Page], size: ViewportSize
) -> None:
    page, desk = opened(size), session.desk
    expect(page.get_by_role("tab", name="Deck 1")).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("slider", name="vocals level, deck 2")).to_be_hidden()
    page.get_by_role("button", name="Mute drums, deck 1").click()
    page.get_by_role("tab", name="Deck 2").click()
    expect(page.get_by_role("slider", name="vocals level, deck 1")).to_be_hidden()
    expect(page.get_by_role("tabpanel", name="Deck 2")).to_be_visible()
    drag(page, "vocals level, deck 2", 30.0)
    page.get_by_role("button", name="Instrumental, deck 2").click()
    until(lambda: desk.get("deck/2/stem/vocals/mute") is True, page)
    assert float(desk.get("deck/2/stem/vocals/gain")) < -1.0
    assert desk.get("deck/1/stem/vocals/gain") == 0.0 and desk.get("deck/1/stem/drums/mute") is True
    # What lies between the decks is there whichever tab is open.
    fader = page.get_by_role("slider", name="crossfader, deck 1 to deck 2")
    expect(fader).to_have_attribute("aria-valuetext", "0.50")
    fader.press("End")
    until(lambda: desk.get("crossfader") == 1.0, page)
    page.get_by_role("button", name="Swap vocals").click()
    until(lambda: desk.get("swap/vocals") is True, page)
    page.get_by_role("button", name="Crossfader cuts").click()
    until(lambda: desk.get("crossfader/cut") is True, page)
    desk.swap("vocals")
    expect(page.get_by_role("button", name="Swap vocals")).to_have_attribute("aria-pressed", "false")


@TWO_DECKS
def test_decks_go_by_keyboard_and_every_control_has_a_name_of_its_own(
    session: Session, opened: Callable[..., Page]
) -> None:
    page = opened(TABLET)
    first, second = page.get_by_role("tab", name="Deck 1"), page.get_by_role("tab", name="Deck 2")
    first.focus()
    page.keyboard.press("ArrowRight")
    expect(second).to_be_focused()
    expect(second).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Home")
    expect(first).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("slider", name="vocals level, deck 1")).to_be_focused()
    for details in page.locator("main details").all():
        details.evaluate("element => { element.open = true; }")
    for tab in (first, second):
        tab.click()
        tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
        for role in ("slider", "button", "tab", "tabpanel", "group"):
            names = [
                node.get("name", {}).get("value", "")
                for node in tree
                if not node.get("ignored") and node["role"]["value"] == role
            ]
            assert names and all(name.strip() for name in names), (role, names)
            assert len(set(names)) == len(names), f"two {role}s have one name: {sorted(names)}"
        for element in page.locator("main button, main select, .fader, summary").all():
            if element.is_visible():
                box = element.bounding_box()
                assert box is not None and box["height"] >= 48 and box["width"] >= 48
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_one_deck_shows_neither_tabs_nor_crossfader(opened: Callable[..., Page]) -> None:
    page = opened(PHONE)
    expect(page.get_by_role("tab")).to_have_count(0)
    expect(page.locator("#crossfader")).to_be_hidden()
