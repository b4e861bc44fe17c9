"""Films, read back by PyAV: every frame, in order, in its colours, whole or not at all."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from fixtures.video import dot_centre, dot_frame
from s2hand.export.movie import MovieWriter


def read(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def write_until_interrupted(path: Path) -> None:
    with MovieWriter(path, 30, (64, 48)) as movie:
        for _ in range(100):
            movie.write(np.zeros((48, 64, 3), np.uint8))
        raise KeyboardInterrupt


@pytest.mark.parametrize("size", [(96, 64), (97, 64), (96, 65), (97, 65), (1, 1)])
def test_frames_come_back_in_number_order_and_size(tmp_path: Path, size: tuple[int, int]) -> None:
    dots = [(0.1 * size[0] + 4 * i, 0.4 * size[1]) for i in range(12)]
    with MovieWriter(tmp_path / "film.mp4", 30, size) as movie:
        for dot in dots:
            movie.write(dot_frame(*size, dot))
    frames = read(tmp_path / "film.mp4")
    assert len(frames) == movie.frames == 12
    assert frames[0].shape == (size[1] + size[1] % 2, size[0] + size[0] % 2, 3)
    for frame, dot in zip(frames, dots, strict=True):
        if size != (1, 1):
            np.testing.assert_allclose(dot_centre(frame), dot, atol=0.3)


def test_an_odd_size_grows_by_a_copy_of_the_border(tmp_path: Path) -> None:
    image = np.full((15, 15, 3), 40, np.uint8)
    image[:, -1] = image[-1] = 220
    with MovieWriter(tmp_path / "film.mp4", 30, (15, 15)) as movie:
        movie.write(image)
    (frame,) = read(tmp_path / "film.mp4")
    assert frame[-2:].min() > 150
    assert frame[:, -2:].min() > 150


def test_any_player_can_show_it(tmp_path: Path) -> None:
    with MovieWriter(tmp_path / "film.mp4", 30000 / 1001, (64, 48)) as movie:
        for _ in range(30):
            movie.write(np.zeros((48, 64, 3), np.uint8))
    with av.open(str(tmp_path / "film.mp4")) as container:
        (stream,) = container.streams.video
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == Fraction(30000, 1001)
        times = [frame.time for frame in container.decode(stream)]
    np.testing.assert_allclose(times, np.arange(30) * 1.001 / 30, atol=1e-4)


def test_key_frames_and_quality_as_asked(tmp_path: Path) -> None:
    """Of a still picture x264 makes as few key frames as it may."""
    grey = np.random.default_rng(0).integers(0, 256, (48, 64, 1), np.uint8)
    noise = np.repeat(grey, 3, axis=-1)
    for name, options in (("plain", {}), ("asked", {"crf": 30, "keyframe_every": 10})):
        with MovieWriter(tmp_path / f"{name}.mp4", 30, (64, 48), **options) as movie:
            for _ in range(35):
                movie.write(noise)
    keys = {}
    for name in ("plain", "asked"):
        with av.open(str(tmp_path / f"{name}.mp4")) as container:
            frames = enumerate(container.decode(video=0))
            keys[name] = [number for number, frame in frames if frame.key_frame]
    assert keys == {"plain": [0], "asked": [0, 10, 20, 30]}
    plain, asked = (read(tmp_path / f"{name}.mp4")[0].astype(float) for name in keys)
    assert np.abs(asked - noise).mean() > 1.5 * np.abs(plain - noise).mean()


@pytest.mark.parametrize("color", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 150, 120)])
def test_colours_are_kept_and_their_matrix_is_named(
    tmp_path: Path, color: tuple[int, int, int]
) -> None:
    with MovieWriter(tmp_path / "film.mp4", 25, (64, 48)) as movie:
        movie.write(np.full((48, 64, 3), color, np.uint8))
    with av.open(str(tmp_path / "film.mp4")) as container:
        frame = next(container.decode(video=0))
        y, u, v = (float(np.median(frame.to_ndarray()[rows])) for rows in PLANES)
        assert frame.colorspace == 1  # BT.709 in ITU-T H.273
    # BT.709, narrow range
    red = 255 * ((y - 16) / 219 + 1.5748 * (v - 128) / 224)
    blue = 255 * ((y - 16) / 219 + 1.8556 * (u - 128) / 224)
    green = (255 * (y - 16) / 219 - 0.2126 * red - 0.0722 * blue) / 0.7152
    np.testing.assert_allclose([red, green, blue], color, atol=4)


PLANES = (slice(0, 48), slice(48, 60), slice(60, 72))  # of yuv420p at 64 x 48


def test_an_error_leaves_no_file_and_an_older_one_stands(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    for older in (None, b"an older film"):
        if older:
            path.write_bytes(older)
        with pytest.raises(KeyboardInterrupt):
            write_until_interrupted(path)
        with (
            pytest.raises(ValueError, match="no image"),
            MovieWriter(path, 30, (64, 48)),
        ):
            pass
        assert os.listdir(tmp_path) == (["film.mp4"] if older else [])
    assert path.read_bytes() == b"an older film"


def test_an_older_film_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"an older film")
    with MovieWriter(tmp_path / "film.mp4", 30, (64, 48)) as movie:
        movie.write(np.zeros((48, 64, 3), np.uint8))
        assert (tmp_path / "film.mp4").read_bytes() == b"an older film"
    assert len(read(tmp_path / "film.mp4")) == 1


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"film\.avi: a film is a \.mp4"):
        MovieWriter(tmp_path / "film.avi", 30, (64, 48))
    for fps, size in ((0, (64, 48)), (float("nan"), (64, 48)), (30, (0, 48))):
        with pytest.raises(ValueError, match="frames per second of"):
            MovieWriter(tmp_path / "film.mp4", fps, size)
    wrong = (np.zeros((64, 48, 3), np.uint8), np.zeros((48, 64, 3), np.float32))
    for image in wrong:
        with (
            pytest.raises(ValueError, match=r"image 0 is .*, the film takes uint8 \(48, 64, 3\)"),
            MovieWriter(tmp_path / "film.mp4", 30, (64, 48)) as movie,
        ):
            movie.write(image)
    assert os.listdir(tmp_path) == []
