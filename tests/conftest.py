"""Fixtures that several test packages share; the builders are in tests/fixtures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from fixtures.freihand import FreiHandTree

# The same examples in every run, and no time limit: first calls compile, and machines are shared.
settings.register_profile("s2hand", deadline=None, derandomize=True)
settings.load_profile("s2hand")

REAL_VIDEO = Path(__file__).parents[2] / "shared" / "data" / "human_hand_video.mp4"


@pytest.fixture(scope="session")
def freihand(tmp_path_factory: pytest.TempPathFactory) -> FreiHandTree:
    """A tree in FreiHAND's format; read only."""
    from fixtures.freihand import write_freihand  # imports the renderer

    return write_freihand(tmp_path_factory.mktemp("freihand"))


@pytest.fixture(scope="session")
def real_video() -> Path:
    """A real hand video; its detections lie beside it as ``human_hand_video.keypoints.json``."""
    if not REAL_VIDEO.is_file():
        pytest.skip(f"the real hand video is not here: {REAL_VIDEO}")
    return REAL_VIDEO
