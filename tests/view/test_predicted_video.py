"""What the viewers read of a folder: its timeline, its film, its files, and what they refuse."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.tracks import FRAMES, GAP, write_track_folder
from s2hand.view.predicted_video import KNOWN_FILES, Film, PredictedVideo, read_predicted_video


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_track_folder(tmp_path_factory.mktemp("view") / "out")


def changed(folder: Path, out: Path, **changes: Any) -> Path:
    """The track with other fields, or (None) without them."""
    with np.load(folder / "track.npz") as archive:
        fields = dict(archive) | changes
    out.mkdir(exist_ok=True)
    np.savez(out / "track.npz", **{k: v for k, v in fields.items() if v is not None})
    return out


def test_the_timeline_is_all_frames_that_were_looked_at(folder: Path) -> None:
    video = read_predicted_video(folder)
    assert video.rows.tolist() == [0, 1, 2, 3, -1, -1, 4, 5, 6]
    assert len(video.rows) == FRAMES
    assert video.fps == 30
    assert video.facts["Frames"] == f"{FRAMES}, {GAP[1] - GAP[0]} without a hand"
    assert video.facts["2D error, mean"] == "3.1 px of a 224 px crop"
    assert video.image_size == (225, 225)  # whose middle pixel is (112, 112)


@given(st.integers(1, 4), st.sets(st.integers(0, 20), min_size=1), st.integers(0, 5))
def test_every_frame_of_the_timeline_has_its_row(step: int, seen: set[int], after: int) -> None:
    """As `Span.gaps` has it: [first, end) in the source's numbers, the last one to its end."""
    numbers = np.array(sorted(seen)) * step
    total = numbers[-1] + 1 + after
    considered = np.arange(0, total, step)
    missing = [k for k in considered if k not in numbers]
    gaps = np.array([(k, min(k + step, total)) for k in missing], np.int64).reshape(-1, 2)
    track = {"frame_numbers": numbers, "frame_step": step, "gaps": gaps, "fps": 30.0}
    video = PredictedVideo(Path("x"), track)
    assert len(video.rows) == len(considered)
    for position, number in enumerate(considered):
        row = video.rows[position]
        assert (numbers[row] == number) if row >= 0 else (number in missing)


@pytest.mark.parametrize(("films", "film"), [
    (("preview.mp4", "overlay.mp4"), ("preview.mp4", 2)), (("overlay.mp4",), ("overlay.mp4", 1)),
    ((), None),
])  # fmt: skip
def test_the_preview_is_shown_before_the_overlay(
    films: tuple[str, ...], film: tuple[str, int] | None, folder: Path, tmp_path: Path
) -> None:
    for name in films:
        (tmp_path / name).write_bytes(b"a film")
    found = PredictedVideo(tmp_path, {}).film
    assert found == (film and Film(tmp_path / film[0], film[1]))


def test_only_its_own_known_files_are_handed_out(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    out = tmp_path / "out"
    out.mkdir()
    (out / "hand.bvh").symlink_to(tmp_path / "secret")
    (out / "hand.glb").mkdir()
    (out / "adapt.json").write_text("other")
    (out / "track.json").write_text("{}")
    assert PredictedVideo(out, {}).files == {"track.json": out / "track.json"}
    (tmp_path / "link").symlink_to(out)
    assert set(PredictedVideo(tmp_path / "link", {}).files) == {"track.json"}
    assert "track.npz" in KNOWN_FILES


def test_no_track_is_said_with_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{tmp_path} holds no track.npz.*\n.*s2hand-video VIDEO"):
        read_predicted_video(tmp_path)
    with pytest.raises(ValueError, match=f"{tmp_path}/none is not a folder: make one"):
        read_predicted_video(tmp_path / "none")


@pytest.mark.parametrize(("changes", "said"), [
    ({"schema": "s2hand.track/9"}, "this version reads 's2hand.track/1'"),
    ({"fps": None}, "track.npz lacks 'fps'"),
    ({"vertices": None}, "track.npz lacks 'vertices'"),
    ({"frame_numbers": np.array([0, 1, 2, 2, 6, 7, 8])}, "frame_numbers must increase"),
    ({"frame_numbers": np.arange(-1, 6)}, "frame_numbers must increase from 0"),
    ({"frame_numbers": np.arange(7) * 10**12}, "not a timeline"),
    ({"gaps": np.array([[4, 10**15]])}, "not a timeline"),
    ({"frame_step": 0}, "frame_step=0"),
    ({"frame_step": 1.5}, "frame_step=1.5 must be integers; predict"),
    ({"frame_numbers": np.arange(7.0)}, "frame_numbers (float32) and frame_step=1 must be"),
    ({"fps": float("nan")}, "fps=nan"),
    ({"fps": 0.0}, "fps=0.0"),
])  # fmt: skip
def test_what_is_no_track_is_refused(
    changes: dict[str, Any], said: str, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        read_predicted_video(changed(folder, tmp_path, **changes))


@pytest.mark.parametrize("keep", [0, 100, -100])
def test_a_track_that_is_cut_short_is_named(keep: int, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "track.npz"
    path.write_bytes((folder / "track.npz").read_bytes()[:keep])
    with pytest.raises(ValueError, match=f"{path} is damaged .*: predict the video again"):
        read_predicted_video(tmp_path)


def test_nothing_in_a_track_can_run(folder: Path, tmp_path: Path) -> None:
    out = changed(folder, tmp_path, hand_model=np.array([print], object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read_predicted_video(out)
