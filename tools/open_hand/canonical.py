"""One frame and one flat rest pose for every body: fingers -x, palm -y, thumb side +z, metres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from s2hand.geometry.skeleton import MANO_PARENTS

from .source import Body, Source

# Degrees (azimuth towards the thumb, elevation towards the palm) of each bone at rest.
REST_DIRECTIONS = np.array(
    [
        [[7, 3], [6, 5], [5, 6]],  # index
        [[1, 3], [1, 5], [0, 6]],  # middle
        [[-15, 4], [-13, 6], [-11, 7]],  # little
        [[-7, 3], [-6, 5], [-5, 6]],  # ring
        [[52, 24], [40, 20], [36, 19]],  # thumb
    ],
    dtype=float,
)
THUMB = 4


@dataclass(frozen=True)
class RestHand:
    """A hand in the rest pose, wrist at the origin, metres."""

    vertices: np.ndarray
    joints: np.ndarray
    tips: np.ndarray


@dataclass(frozen=True)
class Axes:
    """Unit vectors of each finger bone, [5, 3, 3]: along the bone, bending axis, away from palm."""

    bone: np.ndarray
    bend: np.ndarray
    back: np.ndarray


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors scaled to length 1 along the last axis."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def bone_directions(joints: np.ndarray, tips: np.ndarray) -> np.ndarray:
    """[5, 3, 3] unit vectors from each finger joint to the next one or the tip."""
    chains = np.concatenate([joints[1:].reshape(5, 3, 3), tips[:, None]], 1)
    return unit(np.diff(chains, axis=1))


def swing(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """[3, 3] the smallest rotation that maps one unit vector to another."""
    axis = np.cross(start, end)
    cross = np.cross(np.eye(3), axis)
    return np.eye(3) + cross + cross @ cross / (1 + start @ end)


def skinning_transforms(joints: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """[16, 4, 4] rest-to-posed maps of joints under GLOBAL rotations [16, 3, 3]."""
    posed = joints.copy()
    for j, parent in enumerate(MANO_PARENTS[1:], start=1):
        posed[j] = posed[parent] + rotations[parent] @ (joints[j] - joints[parent])
    transforms = np.tile(np.eye(4), (16, 1, 1))
    transforms[:, :3, :3] = rotations
    transforms[:, :3, 3] = posed - np.einsum("jab,jb->ja", rotations, joints)
    return transforms


def skin(vertices: np.ndarray, weights: np.ndarray, transforms: np.ndarray) -> np.ndarray:
    """Linear blend skinning: [n, 3] vertices by [n, 16] weights and [16, 4, 4] maps."""
    blended = np.einsum("vj,jab->vab", weights, transforms[:, :3])
    return np.einsum("vab,vb->va", blended[..., :3], vertices) + blended[..., 3]


def global_rotations(local: np.ndarray) -> np.ndarray:
    """[16, 3, 3] global rotations from the [15, 3, 3] local ones of the finger joints."""
    rotations = np.tile(np.eye(3), (16, 1, 1))
    for j, parent in enumerate(MANO_PARENTS[1:], start=1):
        rotations[j] = rotations[parent] @ local[j - 1]
    return rotations


def normalised_weights(weights: np.ndarray) -> np.ndarray:
    """Rows summing to 1; vertices of no bone follow the wrist."""
    total = weights.sum(1, keepdims=True)
    wrist = np.eye(16)[:1]
    return np.where(total > 0, weights / np.where(total > 0, total, 1), wrist)


def _hand_frame(joints: np.ndarray) -> np.ndarray:
    """[3, 3] rows: the hand's x, y, z axes in body coordinates."""
    distal = unit(0.5 * joints[[1, 4, 7, 10]].mean(0) + 0.5 * joints[4] - joints[0])
    radial = joints[1] - joints[7]
    radial = unit(radial - distal * (radial @ distal))
    return np.stack([-distal, np.cross(distal, radial), radial])


def rest_hand(source: Source, body: Body) -> RestHand:
    """A body's right hand, unposed to the flat rest by the smallest swing of each bone."""
    vertices = source.morph(body)
    joints, tips = source.joints(vertices)
    frame = _hand_frame(joints)
    vertices, joints, tips = ((p - joints[0]) @ frame.T * 0.1 for p in (vertices, joints, tips))

    azimuth, elevation = np.radians(REST_DIRECTIONS).transpose(2, 0, 1)
    directions = np.stack(
        [
            -np.cos(azimuth) * np.cos(elevation),
            -np.sin(elevation),
            np.sin(azimuth) * np.cos(elevation),
        ],
        -1,
    )
    bones = bone_directions(joints, tips)
    rotations = np.tile(np.eye(3), (16, 1, 1))
    for finger in range(5):
        rotation = np.eye(3)
        for k in range(3):
            rotation = swing(rotation @ bones[finger, k], directions[finger, k]) @ rotation
            rotations[1 + 3 * finger + k] = rotation
    transforms = skinning_transforms(joints, rotations)
    homogeneous = np.concatenate([joints, np.ones((16, 1))], 1)
    last = transforms[3::3]
    return RestHand(
        vertices=skin(vertices, normalised_weights(source.weights), transforms),
        joints=np.einsum("jab,jb->ja", transforms[:, :3], homogeneous),
        tips=np.einsum("jab,jb->ja", last[:, :3, :3], tips) + last[:, :3, 3],
    )


def finger_axes(hand: RestHand, weights: np.ndarray) -> Axes:
    """Each bone's bending axis: the widest direction across the finger's last phalanx.

    The base joints of the four fingers average it with the palm's axis (+z). ``weights`` are the
    source's skinning weights.
    """
    bones = bone_directions(hand.joints, hand.tips)
    bend = np.zeros_like(bones)
    for finger in range(5):
        last = weights[:, 3 + 3 * finger] > 0.7
        across = hand.vertices[last] - hand.joints[3 + 3 * finger]
        across = across - np.outer(across @ bones[finger, 2], bones[finger, 2])
        across -= across.mean(0)
        widest = np.linalg.eigh(across.T @ across)[1][:, 2]
        # Fingers bend about the thumb side's axis, the thumb about the palm's.
        widest = widest * np.sign(-widest[1] if finger == THUMB else widest[2])
        base = widest if finger == THUMB else 0.5 * (widest + np.array([0.0, 0.0, 1.0]))
        for k, axis in enumerate((base, widest, widest)):
            bend[finger, k] = unit(axis - bones[finger, k] * (bones[finger, k] @ axis))
    return Axes(bone=bones, bend=bend, back=np.cross(bones, bend))


def bend_fingers(axes: Axes, degrees: np.ndarray) -> np.ndarray:
    """[16, 3, 3] global rotations of joints bent by [5, 3] degrees about their bending axes."""
    vectors = axes.bend * np.radians(degrees)[..., None]
    return global_rotations(Rotation.from_rotvec(vectors.reshape(15, 3)).as_matrix())
