"""One tiny model for all of the page's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rtsep.control.session import Session
from tests.models import build_tiny_model
from tests.page.sets import silent_set


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with tiny models called "live" and "other"."""
    root = tmp_path_factory.mktemp("models")
    build_tiny_model(root, name="live")
    build_tiny_model(root, name="other", architecture="conv-tasnet")
    return str(root)


@pytest.fixture
def session(
    request: pytest.FixtureRequest, models: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Session]:
    """Of one deck; of as many as a test's `indirect` parameter says."""
    monkeypatch.setenv("RTSEP_MODELS", models)
    with silent_set("live", decks=getattr(request, "param", 1)) as made:
        yield made
