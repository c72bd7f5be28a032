"""What is left behind: JSON as documented, and a page that needs nothing but itself."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from rtsep.evaluation.campaign import Evaluation, Settings, evaluate
from rtsep.evaluation.plots import draw_track
from rtsep.evaluation.report import FORMAT, as_html, as_json
from rtsep.evaluation.spectra import Transform
from rtsep.evaluation.systems import Oracle
from rtsep.evaluation.tracks import find_tracks
from tests.evaluation.songs import write_track

DOCUMENT = Path(__file__).parents[2] / "docs" / "evaluation.md"
NAME = 'A & B <i>"live"</i>'


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    root = tmp_path_factory.mktemp("tracks")
    write_track(root / "one", seconds=2.0)
    folder = write_track(root / "two", ("accompaniment",), seconds=1.0)
    small = Transform(512, 512, 128)
    result = evaluate(find_tracks(root), [Oracle("irm2", small)], Settings(transform=small, excerpts=1))
    assert folder.exists()
    # A name that a page could take for markup.
    object.__setattr__(result.tracks[0], "name", NAME)
    return result


class Page(HTMLParser):
    """Every tag's attributes, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_opens_offline(evaluation: Evaluation) -> None:
    page = as_html(evaluation, "scores")
    assert "//" not in re.sub(r'"data:[^"]*"', "", page)  # no address of any kind
    assert "@import" not in page and "url(" not in page
    tags = Page(page).tags
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in tags}
    sources = [attributes["src"] or "" for _, attributes in tags if "src" in attributes]
    assert all(source.startswith("data:") for source in sources)
    assert not any("href" in attributes for _, attributes in tags)


def test_the_page_holds_tables_plots_and_sounds(evaluation: Evaluation) -> None:
    page = Page(as_html(evaluation, NAME))
    tags = [tag for tag, _ in page.tags]
    assert (tags.count("table"), tags.count("img"), tags.count("audio")) == (3, 2, 5)
    text = " ".join(page.text)
    assert text.count(NAME) == 3 and "i" not in tags  # title, heading and track, as text
    pictures = [a["src"] or "" for tag, a in page.tags if tag == "img"]
    for picture in pictures:
        assert base64.b64decode(picture.split(",", 1)[1]).startswith(b"\x89PNG")


def test_a_plot_shows_every_target(evaluation: Evaluation) -> None:
    tall, low = (draw_track(track, 1.0) for track in evaluation.tracks)
    heights = [int.from_bytes(png[20:24], "big") for png in (tall, low)]
    assert heights[0] > 1.5 * heights[1]  # five targets, and two


def test_json_is_valid_and_what_is_not_defined_is_null(evaluation: Evaluation) -> None:
    def refuse(text: str) -> None:
        pytest.fail(f"{text} is no JSON")

    content = json.loads(as_json(evaluation), parse_constant=refuse)
    assert content["format"] == FORMAT
    two = content["tracks"][1]
    assert two["parts"] == ["vocals", "accompaniment"]
    assert two["scores"]["irm2"]["targets"]["vocals"]["sdr"] is None
    assert two["scores"]["irm2"]["targets"]["vocals"]["chunks"]["sdr"] == [None]
    assert two["scores"]["irm2"]["muting"]["vocal_attenuation"] is None
    expected = evaluation.tracks[0].scores["irm2"].targets["drums"].values["sdr"]
    assert content["tracks"][0]["scores"]["irm2"]["targets"]["drums"]["sdr"] == round(expected, 4)
    assert content["medians"]["irm2"]["targets"]["drums"]["sdr"] == round(expected, 4)
    assert [r["stem"] for r in content["ranking"]["irm2"]][-1] in {"vocals", "drums", "bass", "other"}


def test_the_document_shows_the_json_as_it_is(evaluation: Evaluation) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    (example,) = re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    told, real = json.loads(example), json.loads(as_json(evaluation))
    assert told.keys() == real.keys()
    assert told["settings"].keys() == real["settings"].keys()
    for key in ("systems", "tracks"):
        assert told[key][0].keys() == real[key][0].keys(), key
    for document, system in ((told, "live"), (real, "irm2")):
        assert document["medians"][system].keys() == {"targets", "muting"}
        assert document["tracks"][0]["scores"][system].keys() == {"targets", "muting", "real_time_factor"}
    target = told["tracks"][0]["scores"]["live"]["targets"]["vocals"]
    own = real["tracks"][0]["scores"]["irm2"]["targets"]["vocals"]
    assert {key for key in target if not key.startswith("bss_")} == own.keys()
    assert told["ranking"]["irm2"][0].keys() == real["ranking"]["irm2"][0].keys()
