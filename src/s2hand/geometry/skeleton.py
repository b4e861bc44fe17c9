"""The hand's skeleton: the common joint order, its bones, other orders and joint conventions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

NUM_JOINTS = 21
NUM_VERTICES = 778
FINGERS = ("thumb", "index", "middle", "ring", "little")
JOINT_NAMES = ("wrist", *(f"{finger}_{k}" for finger in FINGERS for k in (1, 2, 3, 4)))
"""The common order (FreiHAND = OpenPose = MediaPipe = DexYCB): wrist, then base to tip."""

PARENTS = (-1, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19)
BONES = tuple((parent, child) for child, parent in enumerate(PARENTS) if parent >= 0)
"""The 20 bones (parent, child) of the common order."""
TIPS = (4, 8, 12, 16, 20)

MANO_PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
"""MANO's 16 joints: wrist, index x3, middle x3, little x3, ring x3, thumb x3."""
MANO_FINGERS = ("index", "middle", "little", "ring", "thumb")

# common = source[permutation]; MANO means its 16 joints with the five tips appended thumb first.
TO_COMMON: dict[str, tuple[int, ...]] = {
    "mano": (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20),
    "ho3d": (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20),
    "rhd": (0, 4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17),
    "stb": (0, 17, 18, 19, 20, 13, 14, 15, 16, 9, 10, 11, 12, 5, 6, 7, 8, 1, 2, 3, 4),
    "interhand": (20, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, 19, 18, 17, 16),
    "common": tuple(range(NUM_JOINTS)),
}


def inverse_order(permutation: Sequence[int]) -> tuple[int, ...]:
    """The permutation that undoes another: ``source = common[inverse_order(perm)]``."""
    inverse = [0] * len(permutation)
    for position, source in enumerate(permutation):
        inverse[source] = position
    return tuple(inverse)


@dataclass(frozen=True)
class JointConvention:
    """Which 21 points of a hand mesh a dataset calls its joints.

    ``inner`` is the source of the 16 inner joints: ``chain``, the kinematic chain, or
    ``regressor``, the joint regressor applied to the posed vertices (about 3.2 mm apart on
    FreiHAND). ``tips`` are the fingertip vertices, thumb to little; ``left_tips`` are those of left
    hands if they differ.
    """

    inner: Literal["chain", "regressor"]
    tips: tuple[int, int, int, int, int]
    left_tips: tuple[int, int, int, int, int] | None = None

    def __post_init__(self) -> None:
        if self.inner not in ("chain", "regressor"):
            raise ValueError(f"inner={self.inner!r}: use 'chain' or 'regressor'")
        for tips in (self.tips, self.left_tips or self.tips):
            if len(tips) != 5 or not all(0 <= tip < NUM_VERTICES for tip in tips):
                raise ValueError(f"tips={tips}: give five vertex ids in 0..{NUM_VERTICES - 1}")

    @classmethod
    def preset(cls, name: str) -> JointConvention:
        """One of :data:`JOINT_CONVENTIONS` by name."""
        if name not in JOINT_CONVENTIONS:
            known = ", ".join(sorted(JOINT_CONVENTIONS))
            raise ValueError(f"no joint convention {name!r}; known: {known}")
        return JOINT_CONVENTIONS[name]


JOINT_CONVENTIONS: dict[str, JointConvention] = {
    "freihand": JointConvention("regressor", (744, 320, 443, 555, 672)),
    "ho3d": JointConvention("chain", (744, 333, 444, 555, 672)),
    "manopth": JointConvention("chain", (745, 317, 444, 556, 673), (745, 317, 445, 556, 673)),
    "smplx": JointConvention("chain", (744, 320, 443, 554, 671)),
}


def bone_vectors(joints: Tensor) -> Tensor:
    """[..., 21, d] points to [..., 20, d] vectors from parent to child, in the order of BONES."""
    parents, children = zip(*BONES, strict=True)
    start, end = (indices(ids, joints.device) for ids in (parents, children))
    return joints.index_select(-2, end) - joints.index_select(-2, start)


@cache
def indices(ids: tuple[int, ...], device: torch.device) -> Tensor:
    """Positions as a cached tensor [n] on the device.

    A list would be copied there at every use, and each copy waits for the GPU.
    """
    with torch.inference_mode(False):  # a tensor made in an evaluation is used in training too
        return torch.tensor(ids, device=device)


def bone_lengths(joints: Tensor) -> Tensor:
    """[..., 21, d] points to [..., 20] lengths in the points' unit."""
    return torch.linalg.vector_norm(bone_vectors(joints), dim=-1)
