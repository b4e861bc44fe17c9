"""Anatomy of the finger joints: a (twist, spread, bend) frame for each, and the angle limits.

A finger joint's local rotation R is expressed in its own anatomical frame F = (twist, spread, bend
axis), fixed at rest: F^T R F = Rz(bend) Ry(spread) Rx(twist). That is the joint coordinate system
of Wu et al. 2005 (ISB, part II): bend about the axis of the parent bone, then spread, then twist
about the bone itself. The only singular position is a spread of 90 degrees, which no hand reaches.

Fingers: the twist axis points along the bone to the tip, the bend axis is the finger's hinge, and
positive bend goes towards the palm, positive spread towards the little finger. Thumb: positive
bend closes it across the palm, positive spread lifts it out of the palm's plane (palmar
abduction), positive twist is pronation (the pulp turns to face the fingers).

The limits are the public implementation's numbers (P); the frames are our definition (O).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from s2hand.geometry.rotation import quaternion_to_matrix
from s2hand.geometry.skeleton import FINGERS, JOINT_CONVENTIONS, MANO_FINGERS
from s2hand.hand.model_file import HandModel

_BASE = ((-5, 5), (-10, 10), (-10, 100))
_OTHER = ((-5, 5), (-5, 5), (-10, 100))
LIMITS_DEG: dict[str, tuple[tuple[tuple[float, float], ...], ...]] = {
    "index": (_BASE, _OTHER, _OTHER),
    "middle": (_BASE, _OTHER, _OTHER),
    "little": (((-20, 5), (-10, 20), (-10, 100)), _OTHER, _OTHER),
    "ring": (_BASE, _OTHER, _OTHER),
    "thumb": (
        ((0, 90), (-22.5, 33.75), (-22.5, 22.5)),
        ((-5, 5), (-5, 5), (-22.5, 22.5)),
        ((-5, 5), (-5, 5), (-20, 100)),
    ),
}
"""Degrees: finger, joints from base to tip, (lower, upper) of twist, spread and bend (P)."""

# The thumb faces away from (1, 1, 1) in the axes (towards the wrist, dorsal, thumb side).
_THUMB_BACK = np.ones(3) / math.sqrt(3)
# Weight of the palm's plane relative to the mean pose (radians) in a finger's hinge. It matters
# only where a model's mean pose is flat.
_PALM_PLANE = 0.1


def angle_limits() -> Float[Tensor, "15 3 2"]:
    """Lower and upper limit in radians of (twist, spread, bend) of each joint, MANO order."""
    degrees = [LIMITS_DEG[finger] for finger in MANO_FINGERS]
    return torch.deg2rad(torch.tensor(degrees, dtype=torch.float64).reshape(15, 3, 2)).float()


def joint_frames(model: HandModel) -> np.ndarray:
    """[15, 3, 3]: the columns are each joint's twist, spread and bend axis at rest, MANO order.

    The twist axis is the bone of the rest skeleton (fingertip vertices end the last bones). A
    finger's bend axis is the direction about which its middle joint, a pure hinge, is bent in the
    model's mean pose; the thumb's follows from the palm's plane. A left hand's frames are the
    mirror image of a right hand's, so the same angles and limits hold.
    """
    mirror = np.array([1.0 if model.side == "right" else -1.0, 1.0, 1.0])
    joints = model.rest_joints * mirror
    tips = model.v_template[list(JOINT_CONVENTIONS["freihand"].tips)] * mirror
    # A mirrored rotation vector keeps x and negates y and z.
    hinges = model.hands_mean.reshape(15, 3) * np.array([1.0, mirror[0], mirror[0]])

    # The palm's axes: towards the fingers, the thumb side and the palm's front.
    distal = _unit(joints[4] - joints[0])
    radial = joints[1] - joints[7]
    radial = _unit(radial - distal * (radial @ distal))
    palmar = np.cross(radial, distal)
    thumb_front = -(np.stack([-distal, -palmar, radial], 1) @ _THUMB_BACK)

    # A frame per joint: along its bone, around its hinge, and the cross product of both.
    frames = np.zeros((15, 3, 3))
    for finger, name in enumerate(MANO_FINGERS):
        chain, tip = joints[1 + 3 * finger : 4 + 3 * finger], tips[FINGERS.index(name)]
        bones = np.diff(np.vstack([chain, tip]), axis=0)
        for k in range(3):
            twist = _unit(bones[k])
            if name == "thumb":
                bend = np.cross(twist, thumb_front)
            else:
                bend = _PALM_PLANE * _unit(np.cross(twist, palmar)) + hinges[3 * finger + 1]
            bend = _unit(bend - twist * (bend @ twist))
            spread = np.cross(bend, twist)
            sign = -1.0 if name == "thumb" else 1.0  # pronation and palmar abduction positive
            frames[3 * finger + k] = np.stack([sign * twist, sign * spread, bend], 1)
    return frames * mirror[:, None]


def joint_angles(
    quaternions: Float[Tensor, "*n 15 4"], frames: Float[Tensor, "15 3 3"]
) -> Float[Tensor, "*n 15 3"]:
    """(twist, spread, bend) in radians of local joint rotations, each in its anatomical frame.

    Twist and bend are in (-pi, pi], spread in [-pi/2, pi/2]. Gradients are finite everywhere; at
    a spread of 90 degrees, where twist and bend coincide, their gradients are zero.
    """
    m = frames.transpose(-1, -2) @ quaternion_to_matrix(quaternions) @ frames
    level = (m[..., 0, 0].square() + m[..., 1, 0].square()).clamp_min(1e-12).sqrt()
    twist = _atan2(m[..., 2, 1], m[..., 2, 2])
    spread = torch.atan2(-m[..., 2, 0], level)
    bend = _atan2(m[..., 1, 0], m[..., 0, 0])
    return torch.stack([twist, spread, bend], -1)


def _atan2(y: Tensor, x: Tensor) -> Tensor:
    """``atan2`` whose value and gradient are 0 where both arguments vanish."""
    defined = y.square() + x.square() > 1e-12
    return torch.atan2(torch.where(defined, y, 0.0), torch.where(defined, x, 1.0))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
