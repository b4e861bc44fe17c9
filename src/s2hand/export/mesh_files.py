"""Hand meshes as OBJ, PLY and GLB, with vertex colours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float, Int

from s2hand.export.about import GLTF_AXES, About, comments, with_units
from s2hand.files.atomic import atomic_path

OPENCV_TO_GLTF = np.array([1.0, -1.0, -1.0])
"""glTF has y up and looks along -z."""

SKIN_MATERIAL = {
    "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 0.8},
    "doubleSided": True,
}
"""glTF's default material is polished metal, visible from outside only."""


def write_mesh(
    path: str | Path,
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    colors: Float[np.ndarray, "v 3"] | None = None,
    about: About | None = None,
) -> None:
    """Write a mesh in the format of the suffix: ``.obj``, ``.ply`` (binary) or ``.glb``.

    OBJ and PLY keep the package's axes (OpenCV camera, metres) and sRGB colours; GLB has glTF's
    axes and linear colours, as that format prescribes. Vertices keep their order. Each file states
    its units and axes and the content of ``about``: OBJ and PLY in comments, GLB in
    ``asset.extras``.

    Args:
        path: where to write; replaced atomically.
        vertices: camera space, metres.
        faces: vertex ids, counter-clockwise seen from outside.
        colors: RGB in 0..1, sRGB; values outside are clipped. None: grey.
        about: see :func:`~s2hand.export.about.describe`.

    Raises:
        ValueError: for another suffix, a face without its vertex, or values that are not finite.
    """
    path = Path(path)
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise ValueError(f"cannot write {path}: use one of {', '.join(_WRITERS)}")
    colors = np.full((len(vertices), 3), 0.7) if colors is None else colors
    check_mesh(path, vertices, faces, colors)
    with atomic_path(path) as temporary:
        temporary.write_bytes(writer(vertices, faces, np.clip(colors, 0.0, 1.0), about))


def check_mesh(
    path: str | Path,
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    colors: Float[np.ndarray, "v 3"],
) -> None:
    """Refuse arrays that do not make a mesh.

    Raises:
        ValueError: for a face without its vertex, a wrong number of colours, or values
            that are not finite.
    """
    if colors.shape != vertices.shape:
        raise ValueError(f"{len(colors)} colours for {len(vertices)} vertices: give one each")
    if not (np.isfinite(vertices).all() and np.isfinite(colors).all()):
        raise ValueError(f"cannot write {path}: vertices or colours are not finite")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise ValueError(f"faces refer to vertices {faces.min()}..{faces.max()} of {len(vertices)}")


def _obj(vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray, about: About | None) -> bytes:
    """``v x y z r g b``: not in the specification, but read by MeshLab, Blender and Open3D."""
    lines = [f"# {line}" for line in comments(about)]
    rows = np.concatenate([vertices, colors], 1).tolist()
    lines += ["v {:.7f} {:.7f} {:.7f} {:.4f} {:.4f} {:.4f}".format(*row) for row in rows]
    lines += ["f {} {} {}".format(*face) for face in (faces + 1).tolist()]
    return ("\n".join(lines) + "\n").encode()


def _ply(vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray, about: About | None) -> bytes:
    header = [
        "ply",
        "format binary_little_endian 1.0",
        *(f"comment {line}" for line in comments(about)),
        f"element vertex {len(vertices)}",
        *(f"property float {axis}" for axis in "xyz"),
        *(f"property uchar {channel}" for channel in ("red", "green", "blue")),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
        "end_header\n",
    ]
    points = np.empty(len(vertices), [("xyz", "<f4", 3), ("rgb", "u1", 3)])
    points["xyz"], points["rgb"] = vertices, np.round(255 * colors)
    triangles = np.empty(len(faces), [("corners", "u1"), ("ids", "<i4", 3)])
    triangles["corners"], triangles["ids"] = 3, faces
    return "\n".join(header).encode() + points.tobytes() + triangles.tobytes()


def glb_mesh(
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    colors: Float[np.ndarray, "v 3"],
    about: About | None = None,
) -> bytes:
    """The content of the ``.glb`` of :func:`write_mesh`; colours in 0..1."""
    mesh = trimesh.Trimesh(
        vertices * OPENCV_TO_GLTF,
        faces,
        vertex_colors=np.round(255 * srgb_to_linear(colors)).astype(np.uint8),
        process=False,  # it would merge and reorder vertices
    )
    scene = trimesh.Scene()
    scene.add_geometry(mesh, geom_name="hand", node_name="hand")

    def finish(tree: dict[str, Any]) -> None:
        _add_material(tree)
        tree["asset"]["extras"] = with_units(about, GLTF_AXES)

    return trimesh.exchange.gltf.export_glb(scene, include_normals=True, tree_postprocessor=finish)


def _add_material(tree: dict[str, Any]) -> None:
    tree["materials"] = [SKIN_MATERIAL]
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            primitive["material"] = 0


def srgb_to_linear(colors: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Undo the sRGB transfer function (IEC 61966-2-1), 0..1."""
    return np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)


_WRITERS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray, About | None], bytes]] = {
    ".obj": _obj,
    ".ply": _ply,
    ".glb": glb_mesh,
}
