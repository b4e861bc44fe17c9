"""A predicted video as both viewers read it: its track, its film, its files."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from s2hand.export.codes import Record
from s2hand.export.track import read_track

KNOWN_FILES = {
    "hand.glb": "animated hand",
    "hand.bvh": "motion of the joints",
    "track.json": "numbers as JSON",
    "track.npz": "numbers as NPZ",
    "preview.mp4": "input and overlay, small",
    "overlay.mp4": "overlay",
}
"""The only files of a folder that viewers read and offer for download."""

MAX_FRAMES = 10_000_000
"""Longest video: 46 hours at 60 frames per second."""

_NEEDED = ("side", "hand_model", "crop_px", "fps", "frame_step", "smooth_sigma", "faces",
           "vertices")  # fmt: skip


class Film(NamedTuple):
    """A film with one picture for each frame of the timeline."""

    path: Path
    halves: int
    """2: the input on the left and the overlay on the right; 1: the overlay alone."""


@dataclass(frozen=True)
class PredictedVideo:
    """A hand through a video, on a timeline of all processed frames."""

    folder: Path
    track: Record
    """``s2hand.track/1`` with vertices."""

    @cached_property
    def rows(self) -> Int[np.ndarray, " k"]:
        """The track's row for each frame of the timeline, -1 where no hand was seen."""
        step = self.track["frame_step"]
        numbers = self.track["frame_numbers"] // step
        ends = -(-self.track["gaps"][:, 1] // step)
        rows = np.full(np.max([numbers[-1] + 1, *ends]), -1, np.int64)
        rows[numbers] = np.arange(len(numbers))
        return rows

    @property
    def fps(self) -> float:
        """Frames of the timeline per second."""
        return float(self.track["fps"] / self.track["frame_step"])

    @cached_property
    def files(self) -> dict[str, Path]:
        """The :data:`KNOWN_FILES` in the folder, by name; links to other folders are left out."""
        home = self.folder.resolve()
        found = {name: (home / name).resolve() for name in KNOWN_FILES}
        return {n: path for n, path in found.items() if path.is_file() and path.parent == home}

    @property
    def film(self) -> Film | None:
        """The preview, or the overlay, or None."""
        for name, halves in (("preview.mp4", 2), ("overlay.mp4", 1)):
            if name in self.files:
                return Film(self.files[name], halves)
        return None

    @property
    def image_size(self) -> tuple[float, float]:
        """(width, height) of the picture, pixels; the principal point is taken as its centre."""
        k = self.track["intrinsics_image"][0]
        return 2 * float(k[0, 2]) + 1, 2 * float(k[1, 2]) + 1

    @property
    def facts(self) -> dict[str, str]:
        """Facts about the track, by label."""
        track, rows = self.track, self.rows
        missing = int((rows < 0).sum())
        seen = f"{len(rows)}" + (f", {missing} without a hand" if missing else "")
        smoothed = f"{track['smooth_sigma']:g} frames" if track["smooth_sigma"] else "none"
        error = track.get("error_2d_confident_px")
        distance = "-" if error is None else f"{error:.1f} px of a {track['crop_px']} px crop"
        return {
            "Hand": str(track["side"]),
            "Hand model": str(track["hand_model"]),
            "Frames": seen,
            "Frames per second": f"{self.fps:.4g}",
            "2D error, mean": distance,
            "Smoothing": smoothed,
            "Lengths": "metres, camera space",
        }


def read_predicted_video(folder: Path) -> PredictedVideo:
    """Read the folder that ``s2hand-predict`` or ``s2hand-adapt`` wrote for a video.

    Raises:
        ValueError: if the folder or its track does not exist, or the track has another schema or
            is incomplete.
    """
    path = folder / "track.npz"
    if not path.is_file():
        problem = "holds no track.npz" if folder.is_dir() else "is not a folder"
        raise ValueError(
            f"{folder} {problem}: make one with\n"
            f"  s2hand-video VIDEO {folder}\n"
            "or with s2hand-adapt or s2hand-predict on a video, npz among its formats"
        )
    try:
        track = read_track(path)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{path} is damaged ({error}): predict the video again") from error
    _check(path, track)
    return PredictedVideo(folder, track)


def _check(path: Path, track: Record) -> None:
    """Raise ValueError for a track without a timeline, or with nothing to show on it."""
    missing = [name for name in _NEEDED if name not in track]
    if missing:
        raise ValueError(f"{path} lacks {missing[0]!r}: expected a complete s2hand.track/1 file")
    numbers, step = track["frame_numbers"], track["frame_step"]
    if numbers.dtype.kind not in "iu" or not isinstance(step, int):
        raise ValueError(
            f"{path}: frame_numbers ({numbers.dtype}) and frame_step={step!r} must be "
            "integers; predict the video again"
        )
    ends = np.append(numbers, track["gaps"][:, 1])
    if not (len(numbers) and (np.diff(numbers) > 0).all() and numbers[0] >= 0):
        raise ValueError(f"{path}: frame_numbers must increase from 0")
    if not (step >= 1 and 0 < track["fps"] < 1e4 and ends.max() < MAX_FRAMES):
        raise ValueError(
            f"{path}: not a timeline: {ends.max()} frames at fps={track['fps']}, frame_step={step}"
        )
