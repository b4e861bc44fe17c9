"""The files of a track that hold numbers and meshes, written while the track is being posed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from typing_extensions import Self

from s2hand.data.crops import CROP_PX
from s2hand.data.frames.dataset import FramesDataset
from s2hand.export.about import describe
from s2hand.export.bvh import write_bvh
from s2hand.export.codes import Record
from s2hand.export.mesh_files import write_mesh
from s2hand.export.motion import Motion
from s2hand.export.skinned import write_animation
from s2hand.export.track import TrackArchive, small_part, track_record, write_track_json
from s2hand.fitting.fusion import Span, frame_weights
from s2hand.geometry.camera import mirror_affine
from s2hand.geometry.skeleton import FINGERS, MANO_FINGERS
from s2hand.hand.mano import ManoHead
from s2hand.prediction.summary import confident_errors


class TrackFiles:
    """Writes ``track.npz``, ``track.json``, ``obj/<stem>.obj`` and ``ply/<stem>.ply``.

    A context manager: meshes are written as their frames come. ``track.npz`` appears after
    :meth:`finish`, when the block ends without an error.

    Args:
        out: the folder.
        formats: the formats to write; other formats are handled elsewhere.
        stems: one for every frame of the track.
    """

    def __init__(self, out: Path, formats: Sequence[str], stems: Sequence[str]) -> None:
        self.out, self.formats, self.stems = out, formats, stems
        self._parts: list[Record] = []
        self._first: Record = {}
        self._count = 0
        self._archive: TrackArchive | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if "npz" in self.formats:
            archive = TrackArchive(self.out / "track.npz", len(self.stems))
            self._archive = self._stack.enter_context(archive)
        return self

    def add(self, record: Record) -> None:
        """The prediction record of the next frames; meshes go to disk, the rest is kept."""
        self._first = self._first or record
        if self._archive is not None:
            self._archive.add(record["vertices"])
        colors = np.clip(record["texture"][0], 0, 1)
        for frame, vertices in enumerate(record["vertices"]):
            for kind in {"obj", "ply"} & set(self.formats):
                path = self.out / kind / f"{self.stems[self._count]}.{kind}"
                write_mesh(path, vertices, record["faces"], colors, describe(record, frame))
            self._count += 1
        self._parts.append(small_part(record))

    def finish(self, seen: dict[str, np.ndarray], facts: dict[str, Any]) -> Record:
        """Write what holds the whole track, and return its record; see :func:`track_record`."""
        record = track_record(self._first, self._parts, seen, facts)
        if self._archive is not None:
            self._archive.finish(record)
            self._stack.close()  # whole: a later error does not remove it
        if "json" in self.formats:
            write_track_json(self.out / "track.json", record)
        return record

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def frame_facts(
    dataset: FramesDataset, span: Span, errors: Float[np.ndarray, "n 21"]
) -> dict[str, np.ndarray]:
    """The record's fields per frame beside the hand; ``errors`` are 2D distances per joint."""
    confidence = dataset.confidence[span.rows]
    detected = confidence.numpy() > 0
    # The file describes the picture as it was taken: a left hand's crop is not mirrored there.
    flip = mirror_affine(CROP_PX) if dataset.mirrored else torch.eye(3, dtype=torch.float64)
    return {
        "times": span.times.astype(np.float32),
        "frame_numbers": span.numbers,
        "confidence": frame_weights(confidence).numpy(),
        "error_2d_px": np.sum(errors * detected, -1) / detected.sum(-1, dtype=np.float32),
        "affine": (flip @ dataset.affines[span.rows]).float().numpy(),
    }


def track_facts(
    hand: ManoHead,
    dataset: FramesDataset,
    span: Span,
    errors: Float[np.ndarray, "n 21"],
    smooth_sigma: float,
) -> dict[str, Any]:
    """The record's fields per track beside the hand; ``errors`` are 2D distances per joint."""
    seen = confident_errors(dataset, span, errors)
    return {
        "num_pca": hand.num_pca,
        "fps": float(span.fps),
        "frame_step": dataset.every,
        "gaps": span.gaps,
        "smooth_sigma": float(smooth_sigma),
        **({"error_2d_confident_px": float(seen.mean())} if len(seen) else {}),
    }


def write_moving_hand(out: Path, formats: Sequence[str], hand: ManoHead, record: Record) -> None:
    """Write ``hand.glb``, one animated, skinned hand, and ``hand.bvh``, its skeleton.

    Each only if it is among the formats. A left hand is the mirror image of the right model:
    X' = -X of its rest mesh and joints, as everything in the record.
    """
    shape = torch.from_numpy(record["shape"]).to(hand.faces.device)
    side = np.array([-1.0 if record["mirrored"] else 1.0, 1.0, 1.0], np.float32)
    vertices, joints = (points.numpy(force=True) * side for points in hand.rest(shape))
    motion = Motion(
        joints, hand.parents, record["times"], record["quaternions"], record["translation"],
        record["scale"],
    )  # fmt: skip
    if "glb" in formats:
        write_animation(
            out / "hand.glb", motion, vertices=vertices,
            weights=hand.skin_weights.numpy(force=True), faces=record["faces"],
            colors=record["texture"], about=describe(record),
        )  # fmt: skip
    if "bvh" in formats:
        tips_of = hand.convention.tips
        if record["mirrored"] and hand.convention.left_tips is not None:
            tips_of = hand.convention.left_tips
        tips = [tips_of[FINGERS.index(finger)] for finger in MANO_FINGERS]
        frame_time = record["frame_step"] / record["fps"]
        write_bvh(out / "hand.bvh", motion, vertices[tips], frame_time)
