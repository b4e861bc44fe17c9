"""The page of an evaluation: whole, harmless whatever its texts contain, and drawn in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fixtures.browser import chromium, difference, pixels, skin, watched_page
from fixtures.hands import open_hands
from s2hand.export.mesh_files import write_mesh
from s2hand.hand.mano import ManoHead
from s2hand.view.metrics_page import write_metrics_page

EVIL = "</script><img src=x onerror=alert(1)>"
TITLE = f"{EVIL} & ${{title}} Ω\udcff"
COLUMNS = {"model": {"pa_mpjpe_mm": 7.25, "auc": 0.5}, EVIL: {"pa_mpjpe_mm": 20.125}}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    Image.new("RGB", (60, 20), "navy").save(folder / "panel.png")
    hand, _ = open_hands(1)
    colors = np.broadcast_to([0.78, 0.58, 0.58], (778, 3))
    faces = ManoHead("open").faces.numpy()
    write_mesh(folder / "example.glb", hand.vertices[0, 0].numpy(), faces, colors)
    page = folder / "index.html"
    write_metrics_page(page, TITLE, COLUMNS, folder / "panel.png", folder / "example.glb")
    return page


def test_texts_and_numbers_are_texts(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    assert text.count("<script") == text.count("</script>") == 3
    assert text.count("<img") == 1
    for cell in ("<td>7.250</td><td>20.125</td>", "<td>0.500</td><td></td>"):
        assert cell in text


def test_the_hand_is_drawn_and_rotates(written: Path) -> None:
    with chromium() as browser, watched_page(browser, 1000, 640) as page:
        page.goto(written.as_uri())
        page.wait_for_selector("body.ready", state="attached", timeout=60_000)
        canvas = page.locator("#view")
        before = hand_pixels(page)
        assert 0.1 < skin(before) < 0.9
        assert page.title() == TITLE.replace("\udcff", "?")
        box = canvas.bounding_box()
        page.mouse.move(box["x"] + 200, box["y"] + 200)
        page.mouse.down()
        page.mouse.move(box["x"] + 320, box["y"] + 200, steps=2)
        page.mouse.up()
        assert difference(before, hand_pixels(page)) > 0.02


def hand_pixels(page: Any) -> np.ndarray:
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return pixels(page.locator("#view"))
