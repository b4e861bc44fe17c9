"""Lambertian shading per vertex under one ambient and one directional light."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

MIN_DIRECTION = 1e-3
"""Light directions shorter than this are not normalised, so that gradients stay bounded."""


def shade(
    texture: Float[Tensor, "n v 3"],
    normals: Float[Tensor, "n v 3"],
    light: Float[Tensor, "n 11"],
) -> Float[Tensor, "n v 3"]:
    """Texture times (ambient + directional * max(0, -normal . direction)), not clamped to 0..1.

    ``light`` holds ambient intensity, directional intensity, ambient RGB, directional RGB and the
    direction in which the light travels (camera axes, any length): (1, 1, 1), the start of
    training, shines over the camera's left shoulder. The light's entries and their order: S2HAND
    (TPAMI 2023) section 3.1 and its public implementation; the sign of the direction: our
    definition.
    """
    direction = torch.nn.functional.normalize(light[:, 8:], dim=-1, eps=MIN_DIRECTION)
    cosine = -(normals * direction[:, None]).sum(-1, keepdim=True)
    ambient = light[:, None, 0:1] * light[:, None, 2:5]
    directional = light[:, None, 1:2] * light[:, None, 5:8]
    return texture * (ambient + directional * cosine.relu())
