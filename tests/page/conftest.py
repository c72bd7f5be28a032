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
def session(models: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.setenv("RTSEP_MODELS", models)
    with silent_set("live") as made:
        yield made
