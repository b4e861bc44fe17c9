"""A moving hand's skeleton as BVH (Biovision hierarchy), for retargeting and character tools."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation, Slerp

from s2hand.export.codes import ROTATION_NAMES
from s2hand.export.mesh_files import OPENCV_TO_GLTF
from s2hand.export.motion import Motion
from s2hand.files.atomic import atomic_path

_ROTATION_CHANNELS = "Zrotation Yrotation Xrotation"
"""R = Rz Ry Rx, degrees. Of the six orders, this one's gimbal lock is the least likely: it needs a
finger spread by a right angle, or a hand that points straight into or out of the image."""
_LOCKED = 1e-6  # cosine of y below which z and x cannot be separated
_SNAP = 0.1  # fraction of a frame; some containers round time stamps to milliseconds


def write_bvh(
    path: str | Path, motion: Motion, tips: Float[np.ndarray, "5 3"], frame_time: float
) -> None:
    """Write the joints of a hand, with an end site at each finger tip.

    Metres, degrees, y up and z towards the viewer: glTF's axes, those of the animated GLB. At rest
    (all zero) the hand is in the model's axes with its root at the origin; shape and scale are in
    the offsets. The root's position is absolute, not relative to its start.

    A BVH has one frame time, so the motion is sampled at 0, ``frame_time``, ... up to its last key.
    A sample within a tenth of a frame of a key takes its values; others are interpolated between
    keys, also across gaps, as viewers of the GLB do (rotations by Slerp, Shoemake 1985; the root's
    position linearly). Before the first key the hand does not move. Of the angles that give one
    rotation, those nearest to the previous frame are written.

    Args:
        path: where to write, ``.bvh``; replaced atomically.
        motion: the skeleton and its keys.
        tips: fingertips of the rest hand, metres, in the model's axes, one for each chain in the
            order of the joints (:data:`~s2hand.export.codes.ROTATION_NAMES`: index, ..., thumb).
        frame_time: seconds from frame to frame.

    Raises:
        ValueError: for another suffix, an invalid motion (:meth:`Motion.check`), tips that are not
            finite or not one per chain, or a frame time that is not above 0.
    """
    if Path(path).suffix.lower() != ".bvh":
        raise ValueError(f"cannot write {path}: a skeleton's motion is a .bvh")
    motion.check(path)
    leaves = sorted({*range(16)} - {*motion.parents})
    if tips.shape != (len(leaves), 3) or not np.isfinite(tips).all():
        raise ValueError(f"cannot write {path}: {tips.shape} are not {len(leaves)} finite tips")
    if not (np.isfinite(frame_time) and frame_time > 0):
        raise ValueError(f"cannot write {path}: frame_time={frame_time}, must be above 0 seconds")
    # Angles in the order of the tree, with the root in glTF's axes.
    order = list(_depth_first(motion.parents, 0))
    rotations, wrists = _sample(motion, frame_time)
    rotations[:, 0] = OPENCV_TO_GLTF[:, None] * rotations[:, 0]
    angles = np.degrees(euler_zyx(rotations))[:, order].reshape(len(rotations), -1)
    rows = np.concatenate([wrists * OPENCV_TO_GLTF, angles], 1)
    with atomic_path(path) as temporary, temporary.open("w", encoding="ascii") as file:
        file.write("HIERARCHY\n")
        file.writelines(f"{line}\n" for line in _hierarchy(motion, leaves, motion.scale * tips))
        file.write(f"MOTION\nFrames: {len(rows)}\nFrame Time: {frame_time:.9f}\n")
        file.writelines(" ".join(f"{value:.6f}" for value in row) + "\n" for row in rows)


def _depth_first(parents: Sequence[int], joint: int) -> Iterator[int]:
    """A joint and its descendants, in the order of a BVH."""
    yield joint
    for child, parent in enumerate(parents):
        if parent == joint:
            yield from _depth_first(parents, child)


def _hierarchy(motion: Motion, leaves: Sequence[int], tips: np.ndarray) -> Iterator[str]:
    """The lines of the tree; the root's offset is 0, its position is in its channels."""
    rest, parents = motion.rest, motion.parents

    def offset(place: np.ndarray) -> str:
        return "OFFSET " + " ".join(f"{value:.6f}" for value in place)

    def block(title: str, content: Iterable[str]) -> Iterator[str]:
        yield from (title, "{", *(f"\t{line}" for line in content), "}")

    def joint_lines(joint: int) -> Iterator[str]:
        root = parents[joint] < 0
        yield offset(np.zeros(3) if root else rest[joint] - rest[parents[joint]])
        channels = "6 Xposition Yposition Zposition" if root else "3"
        yield f"CHANNELS {channels} {_ROTATION_CHANNELS}"
        for child in (child for child, parent in enumerate(parents) if parent == joint):
            yield from block(f"JOINT {ROTATION_NAMES[child]}", joint_lines(child))
        if joint in leaves:
            yield from block("End Site", [offset(tips[leaves.index(joint)] - rest[joint])])

    return block(f"ROOT {ROTATION_NAMES[0]}", joint_lines(0))


def _sample(
    motion: Motion, frame_time: float
) -> tuple[Float[np.ndarray, "m 16 3 3"], Float[np.ndarray, "m 3"]]:
    """Rotation matrices and the root's position at equal steps from time 0 to the last key."""
    keys = np.asarray(motion.times, np.float64)
    grid = frame_time * np.arange(round(keys[-1] / frame_time) + 1)
    nearest = keys[np.searchsorted((keys[1:] + keys[:-1]) / 2, grid)]
    at = np.where(np.abs(nearest - grid) < _SNAP * frame_time, nearest, grid)
    at = at.clip(keys[0], keys[-1])
    wrists = np.stack([np.interp(at, keys, axis) for axis in motion.wrists.T], 1)
    ends = np.append(keys, keys[-1] + 1)  # Slerp needs two keys, the motion may have one
    xyzw = np.roll(np.concatenate([motion.rotations, motion.rotations[-1:]]), -1, -1)
    rotations = [Slerp(ends, Rotation.from_quat(xyzw[:, k]))(at).as_matrix() for k in range(16)]
    return np.stack(rotations, 1), wrists


def euler_zyx(matrices: Float[np.ndarray, "n k 3 3"]) -> Float[np.ndarray, "n k 3"]:
    """Angles (z, y, x) in radians, R = Rz Ry Rx, without jumps from frame to frame.

    A rotation has two such triples, (z, y, x) and (z + pi, pi - y, x + pi), each up to full turns.
    The one nearest to the previous frame is taken, in the first frame the one nearest to zero. If
    y is a right angle, only z - x or z + x is determined (gimbal lock), and z keeps its value.

    Args:
        matrices: n frames of k rotations.
    """
    angles = np.empty(matrices.shape[:-1])
    before = np.zeros(matrices.shape[1:-1])
    for frame, m in enumerate(matrices):
        free = np.hypot(m[:, 0, 0], m[:, 1, 0]) > _LOCKED
        z = np.where(free, np.arctan2(m[:, 1, 0], m[:, 0, 0]), before[:, 0])
        cos, sin = np.cos(z), np.sin(z)
        # From the rows of Ry Rx = Rz^-1 R, which determine y and x for any z.
        y = np.arctan2(-m[:, 2, 0], cos * m[:, 0, 0] + sin * m[:, 1, 0])
        x = np.arctan2(sin * m[:, 0, 2] - cos * m[:, 1, 2], cos * m[:, 1, 1] - sin * m[:, 0, 1])
        one = np.stack([z, y, x], -1)
        both = np.stack([one, one * [1, -1, 1] + np.pi])
        both -= 2 * np.pi * np.round((both - before) / (2 * np.pi))
        first = np.square(both - before).sum(-1).argmin(0)
        before = angles[frame] = np.take_along_axis(both, first[None, :, None], 0)[0]
    return angles
