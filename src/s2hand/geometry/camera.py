"""The pinhole camera, and its intrinsics under 2D affine maps (crop, resize, rotate, mirror).

Pixel centres are at integers, so an image of width w covers -0.5 .. w - 0.5. An affine map A acts
on homogeneous pixels; the camera of the mapped image is A K. The invariant behind every loader and
augmentation: ``project(X, A K) = A project(X, K)``.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

MIN_DEPTH = 1e-3
"""Nearer points (metres) are projected as if they were at this depth, so signs never flip."""


def project(
    points: Float[Tensor, "*n p 3"], intrinsics: Float[Tensor, "*n 3 3"]
) -> Float[Tensor, "*n p 2"]:
    """Perspective projection with a general K: camera-space metres to pixels."""
    depth = points[..., 2:].clamp_min(MIN_DEPTH)
    scaled = torch.cat([points[..., :2] / depth, torch.ones_like(depth)], -1)
    return (scaled @ intrinsics[..., :2, :].transpose(-1, -2))[..., :2]


def transform_points(
    affine: Float[Tensor, "*n 3 3"], points: Float[Tensor, "*n p 2"]
) -> Float[Tensor, "*n p 2"]:
    """Apply 2D affine maps to pixels."""
    return points @ affine[..., :2, :2].transpose(-1, -2) + affine[..., None, :2, 2]


def crop_view(
    affine: Float[Tensor, "*n 3 3"],
    intrinsics: Float[Tensor, "*n 3 3"],
    crop_px: int,
    mirrored: bool,
) -> tuple[Float[Tensor, "*n 3 3"], Float[Tensor, "*n 3 3"]]:
    """Affine map into a crop and K of the crop, given the unflipped map and K of the whole image.

    ``mirrored`` is for left hands: the crop is flipped, and the world too (X' = -X), so that K
    stays that of an ordinary camera.
    """
    if not mirrored:
        return affine, affine @ intrinsics
    affine = mirror_affine(crop_px).to(affine) @ affine
    world = torch.diag(affine.new_tensor([-1.0, 1.0, 1.0]))
    return affine, affine @ intrinsics @ world


def resize_affine(factor_x: float, factor_y: float | None = None) -> Float[Tensor, "3 3"]:
    """The map of an image resize: u' = f (u + 1/2) - 1/2."""
    factor_y = factor_x if factor_y is None else factor_y
    return torch.tensor(
        [[factor_x, 0, (factor_x - 1) / 2], [0, factor_y, (factor_y - 1) / 2], [0, 0, 1]],
        dtype=torch.float64,
    )


def crop_affine(left: float, top: float, side: float, crop_px: int) -> Float[Tensor, "3 3"]:
    """The map of cutting the square [left, left+side) x [top, top+side) and resizing it to crop_px.

    ``left`` and ``top`` are pixel edges in the convention of image libraries (0 = the image's
    border), half a pixel before the centres used everywhere else.
    """
    shift = torch.eye(3, dtype=torch.float64)
    shift[0, 2], shift[1, 2] = -left, -top
    return resize_affine(crop_px / side) @ shift


def mirror_affine(width: int) -> Float[Tensor, "3 3"]:
    """The map of a left-right flip: u' = width - 1 - u."""
    return torch.tensor([[-1.0, 0, width - 1], [0, 1, 0], [0, 0, 1]], dtype=torch.float64)


def intrinsics_from_fov(width: int, height: int, horizontal_fov_deg: float) -> Float[Tensor, "3 3"]:
    """K of a full image from its horizontal field of view; square pixels, central axis."""
    if not 1.0 <= horizontal_fov_deg < 179.0:
        raise ValueError(
            f"field of view {horizontal_fov_deg} degrees: give 1 to 179, typically 50 to 75"
        )
    focal = width / 2 / math.tan(math.radians(horizontal_fov_deg) / 2)
    return torch.tensor(
        [[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]], dtype=torch.float64
    )


def scale_intrinsics(
    intrinsics: Float[Tensor, "*n 3 3"], from_px: int, to_px: int
) -> Float[Tensor, "*n 3 3"]:
    """K of the same square crop sampled at another resolution."""
    return resize_affine(to_px / from_px).to(intrinsics) @ intrinsics


def clip_positions(
    points: Float[Tensor, "*n v 3"],
    intrinsics: Float[Tensor, "*n 3 3"],
    height: int,
    width: int,
    near: float = 0.05,
    far: float = 20.0,
) -> Float[Tensor, "*n v 4"]:
    """Camera-space points to OpenGL clip space with row 0 at the TOP (y = -1 is the first row).

    The rasterizers' pixel (i, j) has its centre at NDC ((2i+1)/w - 1, (2j+1)/h - 1), so pixel u
    maps to x = (2u + 1)/w - 1. ``near`` and ``far`` are metres.
    """
    homogeneous = points @ intrinsics.transpose(-1, -2)
    u, v, w = homogeneous.unbind(-1)
    x = (2 * u + w) / width - w
    y = (2 * v + w) / height - w
    z = (far + near) / (far - near) * w - 2 * far * near / (far - near)
    return torch.stack([x, y, z, w], -1)


def crop_camera(
    intrinsics: Float[Tensor, "*n 3 3"], crop_px: int
) -> tuple[Float[Tensor, "*n 3 3"], Float[Tensor, "*n"]]:
    """The virtual camera that looks through the centre of a crop (our definition).

    Returns the rotation that takes its axes to the real camera's (z through the crop's centre,
    x along the crop's rows) and its focal length in pixels of the crop. The image of a hand in a
    crop depends on its pose in this camera only, not on the place of the crop.
    """
    centre = (crop_px - 1) / 2
    pixels = intrinsics.new_tensor([[centre, centre, 1.0], [centre + 1, centre, 1.0]])
    rays = (torch.linalg.inv(intrinsics) @ pixels.T).transpose(-1, -2)
    ray, right = rays[..., 0, :], rays[..., 1, :] - rays[..., 0, :]
    # Gram-Schmidt: z through the crop's centre, x along its rows.
    length = ray.norm(dim=-1)
    z = ray / length[..., None]
    x = right - (right * z).sum(-1, keepdim=True) * z
    x = x / x.norm(dim=-1, keepdim=True)
    rotation = torch.stack([x, torch.linalg.cross(z, x), z], -1)
    focal = torch.linalg.det(intrinsics[..., :2, :2]).abs().sqrt() * length
    return rotation, focal
