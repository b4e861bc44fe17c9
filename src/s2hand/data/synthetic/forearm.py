"""A simple forearm, with or without a sleeve, that continues a hand mesh at its open wrist."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from s2hand.data.synthetic.scene import Scene
from s2hand.geometry.rotation import axis_angle_to_matrix

# Positions of the rings as fractions of the length; widths as multiples of the wrist's.
_ALONG = (0.04, 0.1, 0.2, 0.35, 0.6, 1.0)
_WIDTH = (0.97, 1.0, 1.1, 1.25, 1.5, 1.6)
_BEND_ALONG = 0.1  # the wrist bends over this fraction of the forearm


class Forearm:
    """Extends hand meshes of one topology by a tube of skin, its cap, and a wider tube of cloth.

    All meshes have the same faces. Without a forearm or a sleeve its rings collapse to triangles
    without area, which are not rasterized.
    """

    def __init__(self, hand_faces: np.ndarray, num_vertices: int) -> None:
        self.loop = open_loop(hand_faces)
        self.num_vertices = num_vertices
        rings, around = len(_ALONG), len(self.loop)
        arm = num_vertices + np.arange(rings * around).reshape(rings, around)
        sleeve = arm + rings * around + 1
        cap = num_vertices + rings * around
        end = arm[-1]
        cap_faces = np.stack([np.roll(end, -1), end, np.full(around, cap)], -1)
        tubes = [_tube(np.concatenate([self.loop[None], arm])), cap_faces, _tube(sleeve)]
        self.faces = torch.from_numpy(np.concatenate([hand_faces, *tubes]))
        """[f, 3] of the hand and the forearm together."""

    def extend(
        self,
        vertices: Float[Tensor, "n v 3"],
        joints: Float[Tensor, "n 21 3"],
        scene: Scene,
    ) -> tuple[Float[Tensor, "n w 3"], Float[Tensor, "n w 3"]]:
        """Vertices of hand and forearm, and their albedo."""
        loop = vertices[:, self.loop]
        wrist = loop.mean(1)
        rotations, spine = _spine(joints, wrist, scene)
        width = vertices.new_tensor(_WIDTH)[:, None, None]
        length = scene.forearm[:, 0, None, None, None]
        spread = torch.where(length > 0, width, torch.ones_like(width))
        offsets = torch.einsum("nrij,nlj->nrli", rotations, loop - wrist[:, None]) * spread
        arm = spine[:, :, None] + offsets
        cap = spine[:, -1:]

        # Rings of the sleeve before its start collapse onto its first ring.
        begin = (scene.forearm[:, 1:2] > spine.new_tensor(_ALONG[:-1])).sum(-1)
        ring = torch.maximum(torch.arange(len(_ALONG)), begin[:, None])
        wide = spine[:, :, None] + offsets * scene.forearm[:, 2, None, None, None]
        sleeve = wide.gather(1, ring[:, :, None, None].expand_as(wide))

        skin = scene.skin[:, self.loop].mean(1, keepdim=True)
        skin = skin.expand(-1, arm.shape[1] * arm.shape[2] + 1, -1)
        cloth = scene.sleeve[:, None].expand(-1, sleeve.shape[1] * sleeve.shape[2], -1)
        parts = [vertices, arm.flatten(1, 2), cap, sleeve.flatten(1, 2)]
        return torch.cat(parts, 1), torch.cat([scene.skin, skin, cloth], 1)


def open_loop(faces: np.ndarray) -> np.ndarray:
    """The vertices of a mesh's only boundary, in the direction of its faces.

    Raises:
        ValueError: if the mesh is closed or open in more than one place.
    """
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).tolist()
    directed = {tuple(edge) for edge in edges}
    following = {a: b for a, b in directed if (b, a) not in directed}
    loop = [min(following, default=0)]
    while following and following[loop[-1]] != loop[0]:
        loop.append(following[loop[-1]])
    if len(loop) != len(following):
        raise ValueError(
            f"a hand mesh must have one opening, at the wrist; it has {len(following)} open edges"
        )
    return np.array(loop)


def _spine(
    joints: Tensor, wrist: Tensor, scene: Scene
) -> tuple[Float[Tensor, "n r 3 3"], Float[Tensor, "n r 3"]]:
    """Rotation of every ring relative to the wrist, and the centre of every ring."""
    axis = torch.nn.functional.normalize(wrist - joints[:, 9], dim=-1)
    side = joints[:, 5] - joints[:, 17]
    side = side - (side * axis).sum(-1, keepdim=True) * axis
    side = torch.nn.functional.normalize(side, dim=-1)
    back = torch.linalg.cross(axis, side)
    flexion, deviation = scene.wrist_bend.unbind(-1)
    bend = flexion[:, None] * side + deviation[:, None] * back
    along = joints.new_tensor(_ALONG)
    progress = (along / _BEND_ALONG).clamp(max=1)
    rotations = axis_angle_to_matrix(progress[:, None] * bend[:, None])
    directions = (rotations @ axis[:, None, :, None]).squeeze(-1)
    steps = torch.diff(along, prepend=along.new_zeros(1))
    spine = wrist[:, None] + scene.forearm[:, :1, None] * (directions * steps[:, None]).cumsum(1)
    # Without a forearm the rings stay at the edge of the wrist.
    none = (scene.forearm[:, 0] <= 0)[:, None, None, None]
    return torch.where(none, torch.eye(3).to(rotations), rotations), spine


def _tube(rings: np.ndarray) -> np.ndarray:
    """Faces [2 (r - 1) l, 3] between rings of vertex ids [r, l], facing outwards."""
    near, far = rings[:-1], rings[1:]
    near_next, far_next = np.roll(near, -1, 1), np.roll(far, -1, 1)
    first = np.stack([near_next, near, far], -1)
    second = np.stack([near_next, far, far_next], -1)
    return np.concatenate([first.reshape(-1, 3), second.reshape(-1, 3)])
