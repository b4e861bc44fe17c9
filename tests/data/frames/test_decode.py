"""Videos of all kinds: every frame upright, with its time; damaged ones up to the damage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from fixtures.video import damage, dot_centre, dot_frame, truncate, write_video
from s2hand.data.frames.decode import FilmReader, read_video, scan_video
from s2hand.export.movie import MovieWriter

COUNT = 60
DOTS = [(20.0 + i, 30.0) for i in range(COUNT)]


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    """A dot that moves a pixel per frame; noise fills the file evenly, as it does not compress."""
    noise = np.random.default_rng(0).integers(-25, 25, (COUNT, 64, 96, 3))
    plain = np.stack([dot_frame(96, 64, dot) for dot in DOTS])
    return list((plain + noise).clip(0, 255).astype(np.uint8))


def dots(path: Path, count: int | None = None) -> list[tuple[float, float]]:
    wanted = None if count is None else range(count)
    return [dot_centre(np.asarray(image) // 64 * 64) for image in read_video(path, wanted)]


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [("libx264", ".mp4"), ("libx264", ".mkv"), ("mpeg4", ".mov"), ("mpeg4", ".avi")],
)
def test_frames_come_in_order_with_their_times(
    tmp_path: Path, frames: list[np.ndarray], codec: str, suffix: str
) -> None:
    path = write_video(tmp_path / f"clip{suffix}", frames, codec=codec)
    np.testing.assert_allclose(dots(path), DOTS, atol=1)
    scan = scan_video(path)
    np.testing.assert_allclose(scan.times, np.arange(COUNT) / 30, atol=1e-3)
    assert (scan.size, scan.problem, scan.first_of(COUNT)) == ((96, 64), None, COUNT)
    assert scan.first_of(COUNT + 5) is None


def test_only_wanted_frames_are_given(tmp_path: Path, frames: list[np.ndarray]) -> None:
    path = write_video(tmp_path / "clip.mp4", frames[:9])
    centres = [dot_centre(np.asarray(image) // 64 * 64) for image in read_video(path, {1, 7})]
    np.testing.assert_allclose(centres, [DOTS[1], DOTS[7]], atol=1)
    assert list(read_video(path, ())) == []


def test_time_stamps_of_a_variable_rate_are_kept(tmp_path: Path, frames: list[np.ndarray]) -> None:
    stamps = np.cumsum(np.random.default_rng(1).choice([0.02, 0.033, 0.05, 0.4], COUNT))
    for suffix in (".mp4", ".mkv"):
        path = write_video(tmp_path / f"clip{suffix}", frames, codec="libx264", times=stamps)
        scan = scan_video(path)
        np.testing.assert_allclose(scan.times, stamps - stamps[0], atol=2e-3)
        assert scan.first_of(COUNT) == COUNT
        # Long pauses are not lost frames.
        assert scan.first_of(COUNT + 11) is None


@pytest.mark.parametrize("size", [(97, 65), (1280, 2), (33, 97)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    path = write_video(tmp_path / "odd.mp4", [dot_frame(*size, (15, 1))] * 2)
    assert scan_video(path).size == size
    assert {image.size for image in read_video(path)} == {size}


def test_one_frame_is_a_video(tmp_path: Path, frames: list[np.ndarray]) -> None:
    scan = scan_video(write_video(tmp_path / "one.mp4", frames[:1]))
    assert scan.times.tolist() == [0]
    assert scan.step == pytest.approx(1 / 30)
    assert (scan.first_of(1), scan.first_of(2)) == (1, None)


@pytest.mark.skipif(
    not hasattr(av.video.stream.VideoStream, "set_display_rotation"),
    reason=f"PyAV {av.__version__} cannot write rotated videos",
)
@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotated_videos_come_upright(tmp_path: Path, rotation: int) -> None:
    # A telephone held upright stores 96 x 64 frames, to be rotated when shown.
    path = write_video(tmp_path / "turned.mp4", [dot_frame(96, 64, (20, 10))] * 2, rotation)
    image = next(read_video(path))
    # The stored dot is near the top left corner, which moves counter-clockwise.
    shown = {90: (10, 96 - 1 - 20), 180: (96 - 1 - 20, 64 - 1 - 10), -90: (64 - 1 - 10, 20)}
    assert image.size == scan_video(path).size == ((96, 64) if rotation == 180 else (64, 96))
    np.testing.assert_allclose(dot_centre(np.asarray(image)), shown[rotation], atol=0.3)


def test_a_file_that_is_not_a_video_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"not a video" * 100)
    for read in (lambda: list(read_video(path)), lambda: scan_video(path)):
        with pytest.raises(ValueError, match=r"cannot decode .*a\.mp4 after 0 frames: Invalid"):
            read()


def test_sound_alone_is_not_a_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(ValueError, match=r"sound\.mp4 has no video stream"):
        scan_video(tmp_path / "sound.mp4")


@pytest.mark.parametrize("break_it", [damage, truncate])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
def test_frames_before_damage_keep_their_numbers(
    tmp_path: Path, frames: list[np.ndarray], name: str, break_it: Callable[[Path, float], Path]
) -> None:
    """Frames that a decoder drops silently must not shift the numbers of later ones."""
    options = {"movflags": "faststart"} if name == "a.mp4" else {}
    codec = "mpeg4" if name == "a.avi" else "libx264"
    path = write_video(tmp_path / name, frames, codec=codec, **options)
    scan = scan_video(break_it(path, 0.5))
    readable = scan.first_of(COUNT)
    if (name, break_it) == ("a.ts", truncate):
        # Such a stream has no duration, so it could be another video.
        assert readable is None
        return
    assert readable is not None
    assert 20 < readable < 40
    # H.264 repairs partial damage, so the last ones may look odd.
    sound = readable - 4 if break_it is damage else readable
    np.testing.assert_allclose(dots(path, readable)[:sound], DOTS[:sound], atol=1)
    assert scan.problem is None or f"{path} after {len(scan.times)} frames" in scan.problem
    if scan.problem:
        with pytest.raises(ValueError, match=f"after {len(scan.times)} frames"):
            dots(path)


def test_wherever_it_is_cut_the_numbers_stay(tmp_path: Path, frames: list[np.ndarray]) -> None:
    """Frames are stored out of order, so the last of a cut file may lack their predecessors."""
    path = write_video(tmp_path / "a.mkv", frames, codec="libx264")
    whole = path.read_bytes()
    for fraction in np.linspace(0.4, 0.6, 9):
        path.write_bytes(whole)
        readable = scan_video(truncate(path, fraction)).first_of(COUNT)
        assert readable is not None
        np.testing.assert_allclose(dots(path, readable), DOTS[:readable], atol=1)


def test_a_video_that_changes_is_scanned_again(tmp_path: Path, frames: list[np.ndarray]) -> None:
    path = tmp_path / "clip.mp4"
    assert len(scan_video(write_video(path, frames[:9])).times) == 9
    assert len(scan_video(write_video(path, frames[:5])).times) == 5


# Any frame of a film


@pytest.mark.parametrize("fps", [30, 24000 / 1001, 7.5, 0.5])
@pytest.mark.parametrize("keyframe_every", [4, None])
def test_a_film_gives_any_frame(
    tmp_path: Path, frames: list[np.ndarray], fps: float, keyframe_every: int | None
) -> None:
    path = tmp_path / "film.mp4"
    with MovieWriter(path, fps, (96, 64), keyframe_every=keyframe_every) as movie:
        for frame in frames:
            movie.write(frame)
    film = FilmReader(path)
    for number in (0, 1, 5, 4, 59, 58, 2, 41, 40, 0, 59):
        x, _ = dot_centre(np.asarray(film[number]) // 64 * 64)
        assert x == pytest.approx(DOTS[number][0], abs=0.5)
    for number in (60, 1000):
        with pytest.raises(IndexError, match=f"film.mp4 has no frame {number}"):
            film[number]
    assert dot_centre(np.asarray(film[30]) // 64 * 64)[0] == pytest.approx(DOTS[30][0], abs=0.5)


def test_a_file_that_is_not_a_film_is_named(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"no film")
    with pytest.raises(ValueError, match=r"cannot decode .*film\.mp4"):
        FilmReader(path)
