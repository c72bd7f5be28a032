"""Tiny models under the names that commands are given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.models import build_tiny_model


@pytest.fixture(scope="session")
def _folder_of_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    build_tiny_model(root, name="live")
    build_tiny_model(root, name="other", architecture="conv-tasnet")
    return root


@pytest.fixture(scope="module")
def models(_folder_of_models: Path) -> Iterator[str]:
    """A folder with "live" and "other", on the search path of this process and its children; only read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RTSEP_MODELS", str(_folder_of_models))
        yield str(_folder_of_models)
