"""A moving hand as one animated, skinned GLB (glTF 2.0): a mesh, 16 joints, a key per frame."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from jaxtyping import Float, Int, UInt8

from s2hand.export.codes import ROTATION_NAMES
from s2hand.export.gltf import ATTRIBUTES, INDICES, Binary, glb
from s2hand.export.mesh import SKIN_MATERIAL, check_mesh, srgb_to_linear
from s2hand.files import atomic_path
from s2hand.geometry.rotation import quaternion_to_matrix

logger = logging.getLogger(__name__)

_INFLUENCES = 4  # joints per vertex that every viewer reads
_CAMERA, _ROOT, _MESH = 0, 1, 17  # nodes: the camera's axes, the first of 16 joints, the mesh


def write_animation(
    path: str | Path,
    *,
    vertices: Float[np.ndarray, "778 3"],
    joints: Float[np.ndarray, "16 3"],
    weights: Float[np.ndarray, "778 16"],
    parents: Sequence[int],
    faces: Int[np.ndarray, "f 3"],
    colors: Float[np.ndarray, "778 3"] | None,
    times: Float[np.ndarray, " n"],
    quaternions: Float[np.ndarray, "n 16 4"],
    translations: Float[np.ndarray, "n 3"],
    scale: float,
) -> None:
    """Write a hand that moves as :class:`~s2hand.hand.mano.ManoHead` says, x' = s R x + T.

    Viewers pose it by linear blend skinning, so the pose correctives of MANO are left out. Between
    keys they interpolate, rotations along the shorter turn. glTF's axes and linear colours, as
    :func:`~s2hand.export.mesh.write_mesh` writes them; the scale is in the rest mesh. A left hand
    is what is mirrored: vertices, joints, quaternions and translations, and faces turned.

    Args:
        path: where to write, ``.glb``; replaced atomically.
        vertices: the shaped rest hand (``ManoHead.rest``), metres, in the model's axes.
        joints: its joints, MANO order.
        weights: skinning weights; the four largest of a vertex are kept, with a warning if there
            are more.
        parents: of each joint, -1 at the root; a parent comes before its children.
        faces: vertex ids, counter-clockwise seen from outside.
        colors: RGB in 0..1, sRGB; values outside are clipped. Grey where None.
        times: of the keys, seconds from 0 on, increasing.
        quaternions: (w, x, y, z) as in ``Hand.quaternions``: the root in the camera, half turn
            included, then each joint in its parent.
        translations: T, metres, OpenCV camera.
        scale: s, one for all frames.

    Raises:
        ValueError: naming what is not finite, does not fit in number, or does not increase.
    """
    colors = np.full(vertices.shape, 0.7) if colors is None else colors
    times = np.asarray(times, np.float32)
    check_mesh(path, vertices, faces, colors)
    _check(path, times, quaternions, translations, scale, joints, weights)
    vertices, joints = scale * vertices.astype(np.float64), scale * joints.astype(np.float64)
    turns = _continuous(quaternions)
    root = quaternion_to_matrix(torch.from_numpy(turns[:, 0])).numpy()
    wrist = root @ joints[0] + translations

    binary = Binary()
    primitive = _primitive(binary, vertices, faces, colors, weights)
    inverse_binds = np.tile(np.eye(4, dtype=np.float32), (16, 1, 1))
    inverse_binds[:, 3, :3] = -joints  # a matrix is stored column by column
    tree = {
        "asset": {"version": "2.0", "generator": "s2hand"},
        "scene": 0,
        # A skinned mesh belongs to the scene itself: where else it hangs is ignored.
        "scenes": [{"nodes": [_CAMERA, _MESH]}],
        "nodes": _nodes(joints, parents, turns[0], wrist[0]),
        "meshes": [{"name": "hand", "primitives": [primitive]}],
        "materials": [SKIN_MATERIAL],
        "skins": [
            {
                "joints": list(range(_ROOT, _MESH)),
                "inverseBindMatrices": binary.add(inverse_binds),
            }
        ],
        "animations": [_animation(binary, times, turns, wrist)],
    }
    with atomic_path(path) as temporary:
        temporary.write_bytes(glb(tree, binary))


def _primitive(
    binary: Binary,
    vertices: np.ndarray,
    faces: np.ndarray,
    colors: np.ndarray,
    weights: np.ndarray,
) -> dict[str, Any]:
    """The rest mesh and what it hangs on."""
    positions = vertices.astype(np.float32)
    normals = trimesh.Trimesh(vertices, faces, process=False).vertex_normals.astype(np.float32)
    linear = srgb_to_linear(np.clip(colors, 0.0, 1.0))
    rgba = np.round(255 * np.column_stack([linear, np.ones(len(linear))])).astype(np.uint8)
    ids, shares = _influences(weights)
    attributes = {
        "POSITION": binary.add(positions, ATTRIBUTES, bounds=True),
        "NORMAL": binary.add(normals, ATTRIBUTES),
        "COLOR_0": binary.add(rgba, ATTRIBUTES, normalized=True),
        "JOINTS_0": binary.add(ids, ATTRIBUTES),
        "WEIGHTS_0": binary.add(shares, ATTRIBUTES),
    }
    indices = binary.add(faces.astype(np.uint16).ravel(), INDICES)
    return {"attributes": attributes, "indices": indices, "material": 0}


def _influences(
    weights: Float[np.ndarray, "v 16"],
) -> tuple[UInt8[np.ndarray, "v 4"], Float[np.ndarray, "v 4"]]:
    """The joints with the largest weights of each vertex, and their weights, which sum to 1."""
    more = (np.count_nonzero(weights, axis=1) > _INFLUENCES).sum()
    if more:
        logger.warning(
            "%d of %d vertices hang on more than %d joints; the smaller weights are left out",
            more, len(weights), _INFLUENCES,
        )  # fmt: skip
    ids = np.argsort(-weights, axis=1, kind="stable")[:, :_INFLUENCES]
    shares = np.take_along_axis(weights, ids, 1)
    shares = shares / shares.sum(1, keepdims=True)
    return np.where(shares > 0, ids, 0).astype(np.uint8), shares.astype(np.float32)


def _nodes(
    joints: np.ndarray, parents: Sequence[int], turns: np.ndarray, wrist: np.ndarray
) -> list[dict[str, Any]]:
    """The tree, posed as in the first frame for viewers that play nothing."""
    # Half a turn about x takes OpenCV's camera axes to glTF's: (x, -y, -z).
    nodes: list[dict[str, Any]] = [
        {"name": "opencv_camera", "rotation": [1.0, 0.0, 0.0, 0.0], "children": [_ROOT]}
    ]
    for joint, (name, parent) in enumerate(zip(ROTATION_NAMES, parents, strict=True)):
        place = wrist if parent < 0 else joints[joint] - joints[parent]
        node: dict[str, Any] = {
            "name": name,
            "translation": place.tolist(),
            "rotation": np.roll(turns[joint], -1).tolist(),
        }
        # A list of children must not be empty.
        if children := [_ROOT + child for child, other in enumerate(parents) if other == joint]:
            node["children"] = children
        nodes.append(node)
    return [*nodes, {"name": "hand", "mesh": 0, "skin": 0}]


def _animation(
    binary: Binary, times: np.ndarray, turns: np.ndarray, wrist: np.ndarray
) -> dict[str, Any]:
    """A rotation of every joint and the way of the root."""
    keys = binary.add(times, bounds=True)
    xyzw = np.roll(turns, -1, -1).astype(np.float32)
    curves = [(_ROOT, "translation", wrist.astype(np.float32))]
    curves += [(_ROOT + joint, "rotation", xyzw[:, joint]) for joint in range(16)]
    return {
        "name": "hand",
        "samplers": [
            {"input": keys, "output": binary.add(values), "interpolation": "LINEAR"}
            for _, _, values in curves
        ],
        "channels": [
            {"sampler": sampler, "target": {"node": node, "path": path}}
            for sampler, (node, path, _) in enumerate(curves)
        ],
    }


def _continuous(quaternions: Float[np.ndarray, "n 16 4"]) -> Float[np.ndarray, "n 16 4"]:
    """Unit quaternions, each in the sign (q and -q are one rotation) nearest to the one before."""
    unit = quaternions.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=-1, keepdims=True)
    turned = (unit[1:] * unit[:-1]).sum(-1, keepdims=True) < 0
    unit[1:] *= np.cumprod(np.where(turned, -1.0, 1.0), axis=0)
    return unit


def _check(
    path: str | Path,
    times: np.ndarray,
    quaternions: np.ndarray,
    translations: np.ndarray,
    scale: float,
    *rest: np.ndarray,
) -> None:
    n = len(times)
    if Path(path).suffix.lower() != ".glb":
        raise ValueError(f"cannot write {path}: an animation is a .glb")
    if quaternions.shape != (n, 16, 4) or translations.shape != (n, 3) or n == 0:
        raise ValueError(
            f"cannot write {path}: {n} times, quaternions {quaternions.shape}, translations "
            f"{translations.shape}; give n, [n, 16, 4] and [n, 3], n at least 1"
        )
    if not all(np.isfinite(part).all() for part in (quaternions, translations, *rest)):
        raise ValueError(f"cannot write {path}: a rotation, a place or a weight is not finite")
    if not quaternions.any(-1).all():
        raise ValueError(f"cannot write {path}: a quaternion of zeros is no rotation")
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(f"cannot write {path}: scale={scale}, must be above 0")
    if not (times[0] >= 0 and (np.diff(times) > 0).all() and np.isfinite(times[-1])):
        raise ValueError(f"cannot write {path}: times must increase from 0 on, in seconds")
