"""A moving hand as one animated, skinned GLB (glTF 2.0): a mesh, 16 joints, a key per frame."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float, Int, UInt8

from s2hand.export.about import GLTF_AXES, About, with_units
from s2hand.export.codes import ROTATION_NAMES
from s2hand.export.gltf import ATTRIBUTES, INDICES, Binary, glb
from s2hand.export.mesh_files import SKIN_MATERIAL, check_mesh, srgb_to_linear
from s2hand.export.motion import Motion
from s2hand.files.atomic import atomic_path

logger = logging.getLogger(__name__)

_INFLUENCES = 4  # joints per vertex that all viewers support
_CAMERA, _ROOT, _MESH = 0, 1, 17  # nodes: the camera's axes, the first of 16 joints, the mesh


def write_animation(
    path: str | Path,
    motion: Motion,
    *,
    vertices: Float[np.ndarray, "778 3"],
    weights: Float[np.ndarray, "778 16"],
    faces: Int[np.ndarray, "f 3"],
    colors: Float[np.ndarray, "778 3"] | None,
    about: About | None = None,
) -> None:
    """Write a hand that moves like :class:`~s2hand.hand.mano.ManoHead`, x' = s R x + T.

    Viewers pose it by linear blend skinning, so the pose correctives of MANO are left out. Between
    keys they interpolate, rotations along the shorter arc. Axes are glTF's and colours linear, as
    in :func:`~s2hand.export.mesh_files.write_mesh`; the scale is in the rest mesh. For a left hand,
    pass mirrored vertices and motion, and flipped faces.

    Args:
        path: where to write, ``.glb``; replaced atomically.
        motion: the skeleton and its keys.
        vertices: the shaped rest hand (``ManoHead.rest``), metres, in the model's axes.
        weights: skinning weights; the four largest of a vertex are kept, with a warning if there
            are more.
        faces: vertex ids, counter-clockwise seen from outside.
        colors: RGB in 0..1, sRGB; values outside are clipped. None: grey.
        about: see :func:`~s2hand.export.about.describe`; in ``asset.extras``.

    Raises:
        ValueError: naming the array that is not finite, has a wrong length or does not increase.
    """
    if Path(path).suffix.lower() != ".glb":
        raise ValueError(f"cannot write {path}: an animation is a .glb")
    colors = np.full(vertices.shape, 0.7) if colors is None else colors
    check_mesh(path, vertices, faces, colors)
    motion.check(path)
    if not np.isfinite(weights).all():
        raise ValueError(f"cannot write {path}: a weight is not finite")

    binary = Binary()
    scaled = motion.scale * vertices.astype(np.float64)
    primitive = _primitive(binary, scaled, faces, colors, weights)
    inverse_binds = np.tile(np.eye(4, dtype=np.float32), (16, 1, 1))
    inverse_binds[:, 3, :3] = -motion.rest  # a matrix is stored column by column
    tree = {
        "asset": {"version": "2.0", "generator": "s2hand", "extras": with_units(about, GLTF_AXES)},
        "scene": 0,
        # A skinned mesh belongs to the scene itself; any parent's transform is ignored.
        "scenes": [{"nodes": [_CAMERA, _MESH]}],
        "nodes": _nodes(motion),
        "meshes": [{"name": "hand", "primitives": [primitive]}],
        "materials": [SKIN_MATERIAL],
        "skins": [
            {
                "joints": list(range(_ROOT, _MESH)),
                "inverseBindMatrices": binary.add(inverse_binds),
            }
        ],
        "animations": [_animation(binary, motion)],
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
    """The rest mesh with its skinning weights."""
    positions = vertices.astype(np.float32)
    normals = trimesh.Trimesh(vertices, faces, process=False).vertex_normals.astype(np.float32)
    linear = srgb_to_linear(np.clip(colors, 0.0, 1.0))
    rgba = np.round(255 * np.column_stack([linear, np.ones(len(linear))])).astype(np.uint8)
    ids, largest = _influences(weights)
    attributes = {
        "POSITION": binary.add(positions, ATTRIBUTES, bounds=True),
        "NORMAL": binary.add(normals, ATTRIBUTES),
        "COLOR_0": binary.add(rgba, ATTRIBUTES, normalized=True),
        "JOINTS_0": binary.add(ids, ATTRIBUTES),
        "WEIGHTS_0": binary.add(largest, ATTRIBUTES),
    }
    indices = binary.add(faces.astype(np.uint16).ravel(), INDICES)
    return {"attributes": attributes, "indices": indices, "material": 0}


def _influences(
    weights: Float[np.ndarray, "v 16"],
) -> tuple[UInt8[np.ndarray, "v 4"], Float[np.ndarray, "v 4"]]:
    """The joints with the largest weights of each vertex, and these weights, scaled to sum 1."""
    more = (np.count_nonzero(weights, axis=1) > _INFLUENCES).sum()
    if more:
        logger.warning(
            "%d of %d vertices depend on more than %d joints; the smaller weights are left out",
            more, len(weights), _INFLUENCES,
        )  # fmt: skip
    ids = np.argsort(-weights, axis=1, kind="stable")[:, :_INFLUENCES]
    largest = np.take_along_axis(weights, ids, 1)
    largest = largest / largest.sum(1, keepdims=True)
    return np.where(largest > 0, ids, 0).astype(np.uint8), largest.astype(np.float32)


def _nodes(motion: Motion) -> list[dict[str, Any]]:
    """The node tree, posed as in the first frame for viewers that do not play."""
    rest, parents = motion.rest, motion.parents
    # A half turn about x maps OpenCV's camera axes to glTF's: (x, -y, -z).
    nodes: list[dict[str, Any]] = [
        {"name": "opencv_camera", "rotation": [1.0, 0.0, 0.0, 0.0], "children": [_ROOT]}
    ]
    for joint, (name, parent) in enumerate(zip(ROTATION_NAMES, parents, strict=True)):
        place = motion.wrists[0] if parent < 0 else rest[joint] - rest[parent]
        node: dict[str, Any] = {
            "name": name,
            "translation": place.tolist(),
            "rotation": np.roll(motion.rotations[0, joint], -1).tolist(),
        }
        # A list of children must not be empty.
        if children := [_ROOT + child for child, other in enumerate(parents) if other == joint]:
            node["children"] = children
        nodes.append(node)
    return [*nodes, {"name": "hand", "mesh": 0, "skin": 0}]


def _animation(binary: Binary, motion: Motion) -> dict[str, Any]:
    """The rotation of each joint and the position of the root."""
    keys = binary.add(np.asarray(motion.times, np.float32), bounds=True)
    xyzw = np.roll(motion.rotations, -1, -1).astype(np.float32)
    curves = [(_ROOT, "translation", motion.wrists.astype(np.float32))]
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
