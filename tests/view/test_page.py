"""The page of one file: whole, harmless whatever its texts say, and alive in a browser."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fixtures.browser import chromium, difference, eventually, pixels, skin, watched_page
from fixtures.hands import open_hands, pictures
from fixtures.tracks import FRAMES, GAP, SEEN, write_track_folder
from s2hand.export.track import read_track
from s2hand.view import page as page_module
from s2hand.view.page import write_viewer

THREE = Path(page_module.__file__).parent / "three"
EVIL = "<img src=x onerror=alert(1)>"
TITLE = f"</title></script>{EVIL} & ${{title}} Ω"
MODEL = f"</script><script>alert(2)</script>{EVIL}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_track_folder(tmp_path_factory.mktemp("track") / EVIL, hand_model=MODEL)


@pytest.fixture(scope="module")
def written(folder: Path) -> Path:
    return write_viewer(folder.parent / "hand.html", folder, TITLE)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def opened(browser: Any, written: Path) -> Iterator[Any]:
    with watched_page(browser) as page:
        show(page, written)
        yield page


@pytest.fixture
def page(opened: Any) -> Any:
    """At frame 1, paused, in the free view."""
    at(opened, "frame=1")
    return opened


def show(page: Any, path: Path) -> None:
    page.goto(path.as_uri())
    page.wait_for_selector("body.ready", state="attached", timeout=60_000)


def at(page: Any, where: str) -> None:
    page.evaluate("where => { location.hash = ''; location.hash = where; }", where)
    drawn(page)


def drawn(page: Any) -> None:
    """Wait until what is asked for has been drawn."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def embedded(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    content: dict[str, Any] = json.loads(found[1])
    return content


def stage(page: Any) -> np.ndarray:
    drawn(page)
    return pixels(page.locator("#view"))


def frame_of(page: Any) -> int:
    return int(page.locator("#frame").input_value())


# The file


@pytest.mark.parametrize("path", sorted(p for p in THREE.iterdir() if p.name != "README.md"),
                         ids=lambda p: p.name)  # fmt: skip
def test_three_is_as_released(path: Path) -> None:
    table = (THREE / "README.md").read_text()
    rows = dict(re.findall(r"^\| `(\S+)` \|.*\| `([0-9a-f]{64})` \|$", table, re.MULTILINE))
    assert rows[path.name] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_it_holds_the_track_and_its_files(written: Path, folder: Path) -> None:
    data, track = embedded(written), read_track(folder / "track.npz")
    assert len(data["rows"]) == len(data["numbers"]) == FRAMES
    assert [number for number, row in enumerate(data["rows"]) if row >= 0] == SEEN
    np.testing.assert_allclose(data["times"], np.array(SEEN) / 30, atol=1e-6)
    np.testing.assert_allclose(data["error"], track["error_2d_px"], atol=0.005)
    joints = np.frombuffer(base64.b64decode(data["joints"]), "<f4").reshape(-1, 21, 3)
    np.testing.assert_array_equal(joints, track["joints"])
    # 224 pixels at a focal length of 480: 2 atan(112.5 / 480), the principal point at 112.
    assert data["camera"] == pytest.approx({"fovY": 26.39, "aspect": 1.0}, abs=0.01)
    assert data["files"].keys() == {"hand.glb", "hand.bvh", "preview.mp4", "track.json"}
    for name, file in data["files"].items():
        content = base64.b64decode(file["data"])
        if file["gzip"]:
            content = gzip.decompress(content)
        assert content == (folder / name).read_bytes()
        assert file["bytes"] == len(content)


def test_no_text_becomes_markup(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    assert text.count("<script") == text.count("</script>") == 3
    assert text.count("<img") == 0
    assert text.count("<title>") == text.count("</title>") == 1
    assert "http://" not in re.sub(r"base64,[\w+/=]+", "", text)


def test_it_is_small(written: Path, folder: Path) -> None:
    files = sum(path.stat().st_size for path in folder.iterdir() if path.name != "track.npz")
    assert written.stat().st_size < 1.25e6 + 4 / 3 * files


def test_a_long_tracks_json_is_left_out(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_module, "MAX_JSON_BYTES", 1000)
    data = embedded(write_viewer(tmp_path / "a.html", folder, "a"))
    assert data["files"].keys() == {"hand.glb", "hand.bvh", "preview.mp4"}


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    with pytest.raises(ValueError, match=r"nowhere is not a folder: make one(.|\n)*s2hand-video"):
        write_viewer(page, tmp_path / "nowhere", "a")
    with pytest.raises(ValueError, match=r"holds no track.npz: make one"):
        write_viewer(page, tmp_path, "a")
    write_track_folder(tmp_path, ["track.npz"])
    with pytest.raises(ValueError, match=r"holds no hand.glb.*glb in formats"):
        write_viewer(page, tmp_path, "a")
    assert not page.exists()


# In the browser; every page must end without an error, a dialog or a request to others


def test_the_hand_is_there_and_texts_are_texts(page: Any) -> None:
    assert page.title() == page.locator("h1").inner_text() == TITLE
    assert MODEL in page.locator("dl").inner_text()
    assert skin(stage(page)) > 0.03


def test_the_slider_moves_the_hand_and_the_film(page: Any) -> None:
    before, film = stage(page), pixels(page.locator("#overlay"))
    page.locator("#frame").fill("7")
    assert difference(before, stage(page)) > 0.03
    assert eventually(lambda: difference(film, pixels(page.locator("#overlay"))) > 0.03)
    assert page.locator("#frame-label").inner_text() == "frame 7 · 0.23 s"
    assert page.locator("#error-value").inner_text() == "4.5 px"  # the sixth of 2.0, 2.5, ... 5.0


def test_where_no_hand_was_seen_none_is_shown(page: Any) -> None:
    page.locator("#frame").fill(str(GAP[0]))
    assert page.locator("#note").inner_text() == "no hand seen"
    assert skin(stage(page)) == 0
    assert page.locator("#confidence .gap").count() == 1
    assert page.locator("#confidence polyline").count() == 2


def test_playing_goes_on_and_stops(page: Any) -> None:
    page.locator("#speed").select_option("0.5")
    page.locator("h1").click()
    page.keyboard.press("Space")
    assert eventually(lambda: frame_of(page) not in (0, 1))
    assert eventually(lambda: frame_of(page) in (0, 1)), "and over again"
    page.keyboard.press("Space")
    page.wait_for_timeout(100)  # a frame that was on its way is shown
    stopped = frame_of(page)
    page.wait_for_timeout(300)
    assert frame_of(page) == stopped


def test_keys_go_from_frame_to_frame(page: Any) -> None:
    for key, frame in (("ArrowRight", 2), ("Shift+ArrowRight", FRAMES - 1), ("ArrowLeft", 7),
                       ("Home", 0), ("End", FRAMES - 1)):  # fmt: skip
        page.keyboard.press(key)
        assert frame_of(page) == frame


def test_the_film_ends_where_the_slider_does(page: Any) -> None:
    for _ in range(3):  # faster than a film can follow
        page.keyboard.press("End")
        page.keyboard.press("Home")
    time = "document.querySelector('video').currentTime"
    assert eventually(lambda: page.evaluate(time) == pytest.approx(0.5 / 30, abs=1e-3))


def test_a_click_into_a_plot_goes_there(page: Any) -> None:
    box = page.locator("#error").bounding_box()
    page.mouse.click(box["x"] + 6.5 / FRAMES * box["width"], box["y"] + 20)
    assert frame_of(page) == 6


@pytest.mark.parametrize("choice", ["wireframe", "joints"])
def test_wireframe_and_joints_show(page: Any, choice: str) -> None:
    before = stage(page)
    page.locator(f"#{choice}").check()
    assert difference(before, stage(page)) > 0.005
    page.locator(f"#{choice}").uncheck()
    assert difference(before, stage(page)) < 0.002


def test_the_hand_turns(page: Any) -> None:
    before, box = stage(page), page.locator("#scene").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 150, middle[1], steps=2)
    page.mouse.up()
    assert difference(before, stage(page)) > 0.02


def test_through_the_camera_the_hand_lies_where_it_was_filmed(page: Any) -> None:
    at(page, "frame=1&view=camera")
    assert page.locator("#picture").is_visible()
    page.evaluate("document.getElementById('picture').style.opacity = 0")
    image = stage(page)[1:-1, 1:-1]
    page.evaluate("document.getElementById('picture').style.opacity = ''")
    height, width = image.shape[:2]  # the picture is square, and in the middle
    square = image[:, (width - height) // 2 : (width + height) // 2]
    small = Image.fromarray(square.astype(np.uint8)).resize((224, 224))
    red, _, blue = np.moveaxis(np.asarray(small).astype(int), -1, 0)
    seen = red > blue + 15
    filmed = pictures(*open_hands(len(SEEN)))[1][1] > 0.5
    # What linear blend skinning leaves out is a few pixels.
    assert (seen & filmed).sum() > 0.9 * (seen | filmed).sum()


@pytest.mark.parametrize("name", ["hand.glb", "track.json"])
def test_files_can_be_taken(page: Any, folder: Path, tmp_path: Path, name: str) -> None:
    with page.expect_download() as waiting:
        page.get_by_role("button", name=name).click()
    assert waiting.value.suggested_filename == name
    waiting.value.save_as(tmp_path / name)
    assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize("files", [["overlay.mp4"], []])
def test_older_folders_have_pages_too(browser: Any, tmp_path: Path, files: list[str]) -> None:
    write_track_folder(tmp_path, ["track.npz", "hand.glb", *files])
    with watched_page(browser, 400, 600) as page:
        show(page, write_viewer(tmp_path / "page.html", tmp_path, "older"))
        assert page.locator("#overlay").is_visible() == bool(files)
        assert not page.locator("#input").is_visible()
        assert skin(stage(page)) > 0.02
        page.keyboard.press("Space")
        assert eventually(lambda: frame_of(page) > 0)


def test_a_name_that_is_no_text_can_be_a_title(folder: Path, tmp_path: Path) -> None:
    """As Python has file names of other bytes than UTF-8."""
    written = write_viewer(tmp_path / "page.html", folder, "hand\udcff.mp4")
    assert "<title>hand?.mp4</title>" in written.read_text(encoding="utf-8")


def test_a_single_frame_is_a_track(browser: Any, tmp_path: Path) -> None:
    write_track_folder(tmp_path, ["track.npz", "hand.glb"])
    with np.load(tmp_path / "track.npz") as archive:
        fields = dict(archive)
    n = len(fields["frames"])
    one = {name: f[:1] if f.ndim and len(f) == n else f for name, f in fields.items()}
    np.savez(tmp_path / "track.npz", **one | {"gaps": np.zeros((0, 2), np.int64)})
    with watched_page(browser, 400, 600) as page:
        show(page, write_viewer(tmp_path / "page.html", tmp_path, "one"))
        assert skin(stage(page)) > 0.02
        page.keyboard.press("Space")
        page.keyboard.press("End")
        assert frame_of(page) == 0
        assert skin(stage(page)) > 0.02
