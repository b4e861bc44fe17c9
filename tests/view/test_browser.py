"""The local page in a real browser: it loads from this machine alone, shows the hand, moves it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.browser import chromium, difference, eventually, pixels, skin, watched_page
from fixtures.tracks import write_track_folder
from s2hand.view.predicted_video import read_predicted_video
from s2hand.view.server import Viewer

HOSTILE = "<img src=x onerror=alert(1)>"
# The pictures of a film that plays are replaced faster than the browser reads them.
REPLACED = "Failed to load resource: net::ERR_FILE_NOT_FOUND"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_track_folder(tmp_path_factory.mktemp("view") / "out", hand_model=HOSTILE)


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[Any]:
    """Small, since the browser draws in software; without its notice that it does."""
    viewer = Viewer(read_predicted_video(folder), port=0)
    threading.Thread(target=viewer.run, daemon=True).start()
    with chromium() as browser, watched_page(browser, 700, 420, REPLACED) as page:
        page.set_default_timeout(60_000)
        page.goto(viewer.url)
        page.get_by_text("frame 0, 0.00 s").wait_for()
        notice = page.locator(".mantine-Notification-closeButton")
        notice.click()
        notice.wait_for(state="detached")
        assert eventually(lambda: skin(stage(page)) > 0.05, 60)
        yield page
    viewer.stop()


def stage(page: Any) -> np.ndarray:
    """The part left of the panel."""
    return pixels(page)[:, :300]


def still(page: Any) -> np.ndarray:
    """The stage once it no longer changes."""
    pictures = [stage(page)]

    def same() -> bool:
        time.sleep(0.3)  # seconds; in software a few pictures of it are drawn in that time
        pictures.append(stage(page))
        return difference(*pictures[-2:]) == 0

    assert eventually(same)
    return pictures[-1]


def shows(page: Any, text: str) -> bool:
    return eventually(lambda: page.get_by_text(text).count() == 1)


def test_the_hand_the_film_and_texts_are_there(page: Any, folder: Path) -> None:
    assert HOSTILE in page.locator("table").inner_text()
    assert page.locator("table img").count() == 0
    labels = [page.get_by_text(name, exact=True).count() for name in ("Input", "Overlay")]
    assert labels == [1, 1]
    assert page.locator(".uplot canvas").count() == 1


def test_the_slider_moves_the_hand(page: Any) -> None:
    before = still(page)
    page.get_by_role("slider").first.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert shows(page, "frame 3, 0.10 s")
    assert eventually(lambda: difference(before, stage(page)) > 0.02)
    assert eventually(lambda: skin(stage(page)) > 0.05)
    page.keyboard.press("ArrowRight")
    assert shows(page, "no hand seen")
    assert eventually(lambda: skin(stage(page)) == 0)
    page.keyboard.press("ArrowLeft")
    assert eventually(lambda: skin(stage(page)) > 0.05)


@pytest.mark.parametrize("name", ["Wireframe", "Joints"])
def test_wireframe_and_joints_show(page: Any, name: str) -> None:
    before = still(page)
    page.get_by_label(name).click()
    assert eventually(lambda: difference(before, stage(page)) > 0.05)
    page.get_by_label(name).click()
    # viser draws coarser or finer as the machine has time.
    assert eventually(lambda: difference(before, stage(page)) < 0.03)


def test_it_plays_and_stops(page: Any) -> None:
    said = page.get_by_text(re.compile(r"^frame \d+"))
    page.get_by_role("button", name="Play", exact=True).click()
    seen: set[str] = set()
    assert eventually(lambda: seen.add(said.inner_text()) or len(seen) > 2)
    page.get_by_role("button", name="Pause", exact=True).click()
    page.get_by_role("button", name="Play", exact=True).wait_for()


@pytest.mark.parametrize("name", ["track.npz", "hand.bvh"])
def test_files_can_be_taken(page: Any, folder: Path, name: str) -> None:
    with page.expect_download() as taken:
        page.get_by_role("button", name=name).click()
    assert taken.value.suggested_filename == name
    assert Path(taken.value.path()).read_bytes() == (folder / name).read_bytes()
