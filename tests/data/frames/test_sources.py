"""Frames from disk come upright, complete, in order, or with an error that names the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fixtures.video import damage, dot_centre, dot_frame, truncate, write_video
from s2hand.data.detections.base import Detections
from s2hand.data.frames.sources import (
    Pictures,
    Video,
    file_key,
    image_size,
    open_source,
    read_image,
)

DOTS = [(20.0 + 5 * i, 30.0 + 2 * i) for i in range(8)]


def write_noise(path: Path) -> Path:
    """60 frames that fill the file evenly: noise does not compress."""
    rng = np.random.default_rng(0)
    frames = [rng.integers(100, 140, (64, 96, 3)).astype(np.uint8) for _ in range(60)]
    return write_video(path, frames, codec="libx264", movflags="faststart")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = [dot_frame(96, 64, dot) for dot in DOTS]
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", frames)


# Orientation -> where the upright pixel (x, y) of a w x h picture is stored (TIFF 6.0, tag 274).
STORED = {
    1: lambda x, y, w, h: (x, y),
    2: lambda x, y, w, h: (w - 1 - x, y),
    3: lambda x, y, w, h: (w - 1 - x, h - 1 - y),
    4: lambda x, y, w, h: (x, h - 1 - y),
    5: lambda x, y, w, h: (y, x),
    6: lambda x, y, w, h: (y, w - 1 - x),
    7: lambda x, y, w, h: (h - 1 - y, w - 1 - x),
    8: lambda x, y, w, h: (h - 1 - y, x),
}


@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation_is_respected(tmp_path: Path, orientation: int) -> None:
    width, height, dot = 60, 40, (15, 9)
    stored_size = (width, height) if orientation < 5 else (height, width)
    image = Image.fromarray(dot_frame(*stored_size, STORED[orientation](*dot, width, height)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    upright = read_image(tmp_path / "a.png")
    assert upright.size == image_size(tmp_path / "a.png") == (width, height)
    np.testing.assert_allclose(dot_centre(np.asarray(upright)), dot, atol=0.1)


def test_grey_and_transparent_images_become_rgb(tmp_path: Path) -> None:
    for mode in ("L", "RGBA", "P"):
        Image.new(mode, (8, 8)).save(tmp_path / f"{mode}.png")
        assert read_image(tmp_path / f"{mode}.png").mode == "RGB"


@pytest.mark.parametrize("fraction", [0.0, 0.5])
def test_truncated_images_are_named(tmp_path: Path, fraction: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.jpg")
    with pytest.raises(ValueError, match=r"cannot read image .*cut\.jpg"):
        read_image(truncate(tmp_path / "cut.jpg", fraction))


def test_a_missing_image_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "none.jpg")


def found(count: int) -> Detections:
    names = tuple(f"frame{i}" for i in range(count))
    return Detections(names, np.full((count, 21, 2), 20.0), np.ones((count, 21)))


def test_a_video_joins_by_frame_number(clip: Path) -> None:
    video = Video(clip)
    assert video.join(found(8)).names == tuple(f"{i:06d}" for i in range(8))
    images = list(video.images([1, 3]))
    assert len(images) == 2
    for image, dot in zip(images, (DOTS[1], DOTS[3]), strict=True):
        np.testing.assert_allclose(dot_centre(np.asarray(image)), dot, atol=0.3)
    np.testing.assert_allclose(video.times, np.arange(8) / 30, atol=1e-6)
    assert video.fps == pytest.approx(30)


def test_a_whole_video_must_be_as_long_as_its_detections(clip: Path) -> None:
    with pytest.raises(
        ValueError, match=r"clip\.mp4 has 8 frames, detections only 6: .* confidence 0"
    ):
        Video(clip).join(found(6))
    with pytest.raises(ValueError, match=r"clip\.mp4 ends after 8 frames, but 9 have detections"):
        Video(clip).join(found(9))


@pytest.mark.parametrize("break_it", [damage, truncate])
def test_frames_before_damage_are_kept_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, break_it: Callable[[Path, float], Path]
) -> None:
    path = write_noise(tmp_path / "broken.mp4")
    video = Video(break_it(path, 0.5))
    joined = video.join(found(60))
    assert 20 < len(joined) < 40
    assert joined.names[-1] == f"{len(joined) - 1:06d}"
    assert len(video.times) == len(joined)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"cannot decode {path} after {len(joined)} frames" in record.getMessage()
    assert f"its first {len(joined)} frames, of 60 with" in record.getMessage()
    # As many as were read before: reading is the same every time.
    assert len(list(video.images(range(len(joined))))) == len(joined)


def test_damage_behind_the_last_detection_is_reported_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    video = Video(damage(write_noise(tmp_path / "broken.mp4"), 0.5))
    readable = len(video.times)
    assert len(video.join(found(readable))) == readable
    assert "broken.mp4" in caplog.text


def test_pictures_in_natural_order_without_the_skipped(tmp_path: Path) -> None:
    for name in ("img10.png", "img2.PNG", "img1.jpg", "b.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    names = [f.name for f in Pictures(tmp_path, skip=["b.png"]).files]
    assert names == ["img1.jpg", "img2.PNG", "img10.png"]
    with pytest.raises(ValueError, match=r"skip='c\.png': no such image"):
        Pictures(tmp_path, skip=["c.png"])


def test_sources_are_distinguished(tmp_path: Path, clip: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    assert isinstance(open_source(tmp_path), Pictures)
    assert isinstance(open_source(tmp_path / "a.png"), Pictures)
    assert isinstance(open_source(clip), Video)
    assert next(open_source(tmp_path).sizes()) == (30, 20)
    assert next(open_source(clip).sizes()) == (96, 64)
    with pytest.raises(FileNotFoundError, match=r"none\.mp4"):
        open_source(tmp_path / "none.mp4")
    with pytest.raises(ValueError, match="only pictures"):
        open_source(clip, skip=["000001"])
    (tmp_path / "a.png").unlink()
    with pytest.raises(ValueError, match="holds no image"):
        open_source(tmp_path)


def test_pictures_join_by_file_name(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"")
    found = Detections(("b", "a"), np.full((2, 21, 2), 9.0), np.array([[1.0], [0.5]]) * np.ones(21))
    joined = Pictures(tmp_path).join(found)
    assert joined.names == ("a.png", "b.png")
    assert joined.confidence[:, 0].tolist() == [0.5, 1.0]


def test_file_keys_see_a_change_anywhere_probed(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    content = bytearray(200_000)
    path.write_bytes(content)
    first = file_key(path)
    for position in (0, 199_999):
        changed = content.copy()
        changed[position] = 1
        path.write_bytes(changed)
        # The digest alone: the time may be too coarse.
        assert file_key(path)[3] != first[3]


def test_a_digit_that_is_not_a_decimal_is_a_letter(tmp_path: Path) -> None:
    for name in ("10.png", "1²3.png", "2.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    names = [file.name for file in Pictures(tmp_path).files]
    assert names == ["1²3.png", "2.png", "10.png"]
