"""One picture of a whole track: frames, the hand over them, and the same hand from the side."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image

from s2hand.data.frames.decode import read_video
from s2hand.data.frames.sources import FrameSource
from s2hand.export.codes import Record
from s2hand.export.track import read_track
from s2hand.files.atomic import atomic_path
from s2hand.geometry.rotation import axis_angle_to_matrix
from s2hand.render.scene import HandRenderer
from s2hand.types import Camera, Hand, HandCode

_CELL_PX = 224
_TURN_DEG = 70.0  # rotation of the third row about the vertical
_FOCAL_PX = 4.0 * _CELL_PX  # a narrow view, so that the rotated hand keeps its size
_MARGIN = 1.5  # side of a cell's square, as a multiple of the joints' extent


def write_strip(path: Path, source: FrameSource, folder: Path, columns: int = 6) -> None:
    """Write the picture of a predicted folder as PNG.

    Rows: the frame; the hand and its skeleton over it; the textured hand alone, rotated by 70
    degrees about the picture's vertical, which shows the depth that a 2D error cannot.

    Args:
        path: the ``.png``.
        source: the frames that were predicted.
        folder: holds ``track.npz`` and ``overlay.mp4`` of the prediction.
        columns: frames, spread evenly over the track.
    """
    track = read_track(folder / "track.npz")
    count = len(track["frames"])
    rows = np.unique(np.linspace(0, count - 1, columns + 2).round().astype(int)[1:-1])
    numbers = track["frame_numbers"][rows]
    films = [number // track["frame_step"] for number in numbers.tolist()]
    shown = [
        _cells(source.images(numbers.tolist()), track, rows),
        _cells(read_video(folder / "overlay.mp4", set(films)), track, rows),
        turned(track, rows),
    ]
    picture = np.concatenate([np.concatenate(cells, 1) for cells in shown])
    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary)


def _cells(pictures: Iterable[Image.Image], track: Record, rows: np.ndarray) -> list[np.ndarray]:
    """The square around the hand of each picture, [224, 224, 3] uint8.

    A cell is white where a film has no such picture.
    """
    cells = [np.full((_CELL_PX, _CELL_PX, 3), 255, np.uint8) for _ in rows]
    # A film that was cut short has the first pictures only.
    for i, (row, picture) in enumerate(zip(rows, pictures, strict=False)):
        box = hand_box(track["joints_2d_image"][row], picture.size)
        cell = picture.crop(box).resize((_CELL_PX, _CELL_PX), Image.Resampling.LANCZOS)
        cells[i] = np.asarray(cell)
    return cells


def hand_box(joints: Float[np.ndarray, "21 2"], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The square (left, top, right, bottom) around joints in pixels of a picture.

    Its middle is in the picture, and its side is at most the picture's longer side: a hand that
    leaves the picture, or that a fit placed far outside, would make a crop of any size.

    Args:
        joints: pixels.
        size: (width, height) of the picture.
    """
    low, high = joints.min(0), joints.max(0)
    middle = np.clip((low + high) / 2, 0, size)
    half = min(_MARGIN * (high - low).max(), max(size)) / 2
    left, top = (middle - half).round().astype(int).tolist()
    side = max(1, round(2 * half))
    return left, top, left + side, top + side


def turned(track: Record, rows: np.ndarray) -> list[UInt8[np.ndarray, "h w 3"]]:
    """The textured hand of some frames of a track on white, rotated about the vertical."""
    vertices = torch.from_numpy(track["vertices"][rows])
    middle = (vertices.amin(1) + vertices.amax(1))[:, None] / 2
    turn = axis_angle_to_matrix(torch.tensor([0.0, math.radians(_TURN_DEG), 0.0]))
    around = (vertices - middle) @ turn.T
    extent = torch.linalg.vector_norm(around, dim=-1).amax()
    distance = 2.2 * float(extent) * _FOCAL_PX / _CELL_PX
    around = around + torch.tensor([0.0, 0.0, distance])
    n = len(rows)
    code = {
        name: torch.zeros(n, 1, 1) for name in ("pose", "shape", "scale", "rotation", "translation")
    }
    texture = torch.from_numpy(track["texture"]).expand(n, 1, -1, -1)
    light = torch.from_numpy(track["light"][rows])[:, None]
    hand = Hand(
        HandCode(**code, texture=texture, light=light),
        around[:, None], torch.zeros(n, 1, 21, 3), torch.zeros(n, 1, 16, 4),
    )  # fmt: skip
    return _rendered(hand, track["faces"])


def _rendered(hand: Hand, faces: np.ndarray) -> list[UInt8[np.ndarray, "h w 3"]]:
    centre = (_CELL_PX - 1) / 2
    K = torch.tensor([[_FOCAL_PX, 0, centre], [0, _FOCAL_PX, centre], [0, 0, 1]])
    camera = Camera(K.expand(len(hand.vertices), 1, 3, 3), _CELL_PX)
    drawn = HandRenderer(_CELL_PX, "cpu")(hand, camera, torch.from_numpy(faces).long())
    white = drawn.image + (1 - drawn.silhouette[:, :, None])
    pixels = (255 * white[:, 0].clamp(0, 1)).round().to(torch.uint8)
    return list(pixels.movedim(1, -1).numpy())
