"""Alignments of predicted point sets to true ones, as the official evaluations compute them."""

from __future__ import annotations

import warnings
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Reflection = Literal["official", "proper"]

_THICKNESS = 1e-6
"""Clouds of norm 1 with a smaller last singular value are flat: a mirror cannot be detected."""


class Aligned(NamedTuple):
    """Predicted points moved onto the true ones."""

    points: Float[Tensor, "*n p 3"]
    """In the unit and frame of the target."""
    mirrored: Bool[Tensor, "*n"]
    """Where the best orthogonal map would be (``proper``) or is (``official``) a reflection."""


def procrustes_align(
    prediction: Float[Tensor, "*n p 3"],
    target: Float[Tensor, "*n p 3"],
    reflection: Reflection = "official",
) -> Aligned:
    """Similarity alignment of FreiHAND's and HO-3D's evaluation scripts (align_w_scale).

    Both clouds are centred and divided by their Frobenius norm + 1e-8; R and s solve the orthogonal
    Procrustes problem min ||target R - prediction|| (Schoenemann 1966), and the result is
    prediction R^T s ||target|| + mean(target). A constant prediction maps to the target's centroid.

    Args:
        prediction: any unit.
        target: the points to move onto.
        reflection: ``official`` leaves R in O(3), so a mirrored hand scores 0, as on the
            leaderboards; ``proper`` keeps R in SO(3).

    >>> points = torch.randn(21, 3)
    >>> aligned = procrustes_align(0.5 * points + 1, points)
    >>> torch.allclose(aligned.points, points, atol=1e-5)
    True
    """
    if reflection not in ("official", "proper"):
        raise ValueError(f"reflection={reflection!r}: use 'official' or 'proper'")
    # Remove position and size.
    target_mean = target.mean(-2, keepdim=True)
    target, target_norm = _normalise(target - target_mean)
    prediction, _ = _normalise(prediction - prediction.mean(-2, keepdim=True))
    # Best rotation, with the smallest axis flipped if a reflection is not allowed.
    u, values, vt = torch.linalg.svd(target.transpose(-1, -2) @ prediction)
    negative = torch.linalg.det(u @ vt) < 0
    signs = torch.ones_like(values)
    if reflection == "proper":
        signs[..., 2] = torch.where(negative, -1.0, 1.0).to(signs)
    rotation = (u * signs[..., None, :]) @ vt
    # Best scale, in the target's unit and position.
    scale = (values * signs).sum(-1)[..., None, None]
    points = prediction @ rotation.transpose(-1, -2) * scale * target_norm + target_mean
    return Aligned(points, negative & (values[..., 2] > _THICKNESS))


def _normalise(points: Tensor) -> tuple[Tensor, Tensor]:
    norm = torch.linalg.matrix_norm(points, keepdim=True) + 1e-8
    return points / norm, norm


def scale_translation_align(
    prediction: Float[Tensor, "*n p 3"],
    target: Float[Tensor, "*n p 3"],
    bone: tuple[int, int] = (9, 0),
    root: int = 0,
) -> Float[Tensor, "*n p 3"]:
    """Scale the prediction until ``bone`` is as long as the target's, then move ``root`` onto it.

    The default is HO-3D's protocol (middle MCP to wrist) in the common order; HO-3D's own order
    calls the same bone (4, 0). A prediction whose bone has no length keeps its scale.
    """
    a, b = bone
    length = torch.linalg.vector_norm(prediction[..., a, :] - prediction[..., b, :], dim=-1)
    target_length = torch.linalg.vector_norm(target[..., a, :] - target[..., b, :], dim=-1)
    factor = torch.where(length > 0, target_length / length, torch.ones_like(length))
    return root_align(prediction * factor[..., None, None], target, root)


def root_align(
    prediction: Float[Tensor, "*n p 3"], target: Float[Tensor, "*n p 3"], root: int = 0
) -> Float[Tensor, "*n p 3"]:
    """Move point ``root`` of the prediction onto the target's; no scale, no rotation."""
    # In this order the root's own error is exactly 0, which the AUC's first threshold (0) counts.
    return (prediction - prediction[..., root, None, :]) + target[..., root, None, :]


def warn_mirrored(mirrored: int, total: int) -> None:
    """Warn that the official alignment has scored mirrored hands as if they were correct."""
    warnings.warn(
        f"Procrustes mirrored {mirrored} of {total} predictions: the official score allows "
        "reflections, so it does not notice a hand of the wrong side or turned inside out; "
        "compare with reflection='proper'",
        stacklevel=2,
    )
