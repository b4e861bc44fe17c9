"""Frames from disk come upright, complete, in order, or with an error that names the file."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from fixtures.video import dot_centre, dot_frame, write_video
from s2hand.data.detections import Detections
from s2hand.data.video import (
    Pictures,
    Video,
    file_key,
    image_size,
    open_source,
    read_image,
    read_video,
)

DOTS = [(20.0 + 5 * i, 30.0 + 2 * i) for i in range(8)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = [dot_frame(96, 64, dot) for dot in DOTS]
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", frames)


def truncate(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


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


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_truncated_images_are_named(tmp_path: Path, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.jpg")
    with pytest.raises(ValueError, match=r"cannot read image .*cut\.jpg"):
        read_image(truncate(tmp_path / "cut.jpg", share))


def test_a_missing_image_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "none.jpg")


def test_video_frames_come_in_order(clip: Path) -> None:
    frames = [np.asarray(image) for image in read_video(clip)]
    assert len(frames) == len(DOTS)
    for frame, dot in zip(frames, DOTS, strict=True):
        np.testing.assert_allclose(dot_centre(frame), dot, atol=0.3)


@pytest.mark.skipif(
    not hasattr(av.video.stream.VideoStream, "set_display_rotation"),
    reason=f"PyAV {av.__version__} cannot write rotated videos",
)
@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_turned_videos_come_upright(tmp_path: Path, rotation: int) -> None:
    # A telephone held upright stores 96 x 64 frames, to be turned when shown.
    path = write_video(tmp_path / "turned.mp4", [dot_frame(96, 64, (20, 10))] * 2, rotation)
    image = next(read_video(path))
    # The stored dot is near the top left corner; counter-clockwise turns take that corner along.
    shown = {90: (10, 96 - 1 - 20), 180: (96 - 1 - 20, 64 - 1 - 10), -90: (64 - 1 - 10, 20)}
    assert image.size == ((96, 64) if rotation == 180 else (64, 96))
    np.testing.assert_allclose(dot_centre(np.asarray(image)), shown[rotation], atol=0.3)


def test_no_video_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"not a video" * 100)
    with pytest.raises(ValueError, match=r"cannot decode .*a\.mp4 after 0 frames"):
        list(read_video(tmp_path / "a.mp4"))


def test_video_must_be_as_long_as_its_detections(clip: Path) -> None:
    video = Video(clip)
    assert len(list(video.images([1, 3], 8))) == 2
    with pytest.raises(ValueError, match="frame 000006 has no detection"):
        list(video.images([1, 3], 6))
    with pytest.raises(ValueError, match=r"clip\.mp4 ends after 8 frames, but 9 have detections"):
        list(video.images([1, 3], 9))


def test_pictures_in_natural_order_without_the_skipped(tmp_path: Path) -> None:
    for name in ("img10.png", "img2.PNG", "img1.jpg", "b.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    names = [f.name for f in Pictures(tmp_path, skip=["b.png"]).files]
    assert names == ["img1.jpg", "img2.PNG", "img10.png"]
    with pytest.raises(ValueError, match=r"skip='c\.png': no such image"):
        Pictures(tmp_path, skip=["c.png"])


def test_sources_are_told_apart(tmp_path: Path, clip: Path) -> None:
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
        # The digest alone: the time may be too coarse to tell.
        assert file_key(path)[3] != first[3]
