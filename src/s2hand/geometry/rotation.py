"""Rotations: axis-angle, matrices and unit quaternions (w, x, y, z), smooth at the identity.

Written here because the motion losses need exact values and finite gradients at identical
rotations and at the double cover, which the libraries we tried do not have.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_SMALL = 1e-4  # below this angle (radians) the series is exact to float64 precision


def axis_angle_to_quaternion(rotvec: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 4"]:
    """Unit quaternion of an axis-angle vector in radians; gradient (0, 1/2, 1/2, 1/2) at zero."""
    squared = rotvec.square().sum(-1, keepdim=True)
    small = squared < _SMALL**2
    angle = torch.where(small, torch.ones_like(squared), squared).sqrt()
    factor = torch.where(small, 0.5 - squared / 48, torch.sin(angle / 2) / angle)
    real = torch.where(small, 1 - squared / 8, torch.cos(angle / 2))
    return torch.cat([real, rotvec * factor], -1)


def quaternion_to_axis_angle(q: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 3"]:
    """Axis-angle vector in radians of the shorter rotation, |angle| <= pi; smooth at identity."""
    q = torch.where(q[..., :1] < 0, -q, q)
    real, imaginary = q[..., :1], q[..., 1:]
    squared = imaginary.square().sum(-1, keepdim=True)
    small = squared < _SMALL**2
    sine = torch.where(small, torch.ones_like(squared), squared).sqrt()
    safe_real = torch.where(small, torch.ones_like(real), real)
    factor = torch.where(small, 2 + squared / 3, 2 * torch.atan2(sine, safe_real) / sine)
    return imaginary * factor


def quaternion_to_matrix(q: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 3 3"]:
    """Rotation matrix of a unit quaternion; the input is not normalised."""
    w, x, y, z = q.unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def matrix_to_quaternion(matrix: Float[Tensor, "*n 3 3"]) -> Float[Tensor, "*n 4"]:
    """Unit quaternion with w >= 0, by the largest of the four branches (Shepperd 1978)."""
    m00, m11, m22 = matrix[..., 0, 0], matrix[..., 1, 1], matrix[..., 2, 2]
    # 4 w^2, 4 x^2, 4 y^2, 4 z^2
    squares = torch.stack(
        [1 + m00 + m11 + m22, 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22], -1
    )
    wx = matrix[..., 2, 1] - matrix[..., 1, 2]
    wy = matrix[..., 0, 2] - matrix[..., 2, 0]
    wz = matrix[..., 1, 0] - matrix[..., 0, 1]
    xy = matrix[..., 1, 0] + matrix[..., 0, 1]
    xz = matrix[..., 0, 2] + matrix[..., 2, 0]
    yz = matrix[..., 2, 1] + matrix[..., 1, 2]
    # Row k is 4 q_k (w, x, y, z)
    outer = torch.stack(
        [
            torch.stack([squares[..., 0], wx, wy, wz], -1),
            torch.stack([wx, squares[..., 1], xy, xz], -1),
            torch.stack([wy, xy, squares[..., 2], yz], -1),
            torch.stack([wz, xz, yz, squares[..., 3]], -1),
        ],
        -2,
    )
    best = squares.argmax(-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    row = outer.gather(-2, best).squeeze(-2)
    q = row / row.norm(dim=-1, keepdim=True)
    return torch.where(q[..., :1] < 0, -q, q)


def axis_angle_to_matrix(rotvec: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3 3"]:
    """Rotation matrix of an axis-angle vector in radians.

    >>> axis_angle_to_matrix(torch.tensor([0, 0, torch.pi / 2])).round().int()
    tensor([[ 0, -1,  0],
            [ 1,  0,  0],
            [ 0,  0,  1]], dtype=torch.int32)
    """
    return quaternion_to_matrix(axis_angle_to_quaternion(rotvec))


def matrix_to_axis_angle(matrix: Float[Tensor, "*n 3 3"]) -> Float[Tensor, "*n 3"]:
    """Axis-angle vector in radians of a rotation matrix, |angle| <= pi."""
    return quaternion_to_axis_angle(matrix_to_quaternion(matrix))


def quaternion_multiply(
    a: Float[Tensor, "*n 4"], b: Float[Tensor, "*n 4"]
) -> Float[Tensor, "*n 4"]:
    """Hamilton product: the rotation b followed by a."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        -1,
    )


def quaternion_conjugate(q: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 4"]:
    """The inverse rotation of a unit quaternion."""
    return torch.cat([q[..., :1], -q[..., 1:]], -1)


def slerp_midpoint(a: Float[Tensor, "*n 4"], b: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 4"]:
    """Slerp (Shoemake 1985) of unit quaternions at one half, along the shorter rotation.

    At one half it is the normalised sum: exact at every angle, without the sine of the general
    formula that vanishes at equal rotations. Rotations of exactly pi have two midpoints; either may
    result.
    """
    opposite = (a * b).sum(-1, keepdim=True) < 0
    total = a + torch.where(opposite, -b, b)
    return total / total.norm(dim=-1, keepdim=True)


def squared_angle(a: Float[Tensor, "*n 4"], b: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n"]:
    """Square of the angle in radians between two rotations, smooth where they are equal."""
    relative = quaternion_multiply(quaternion_conjugate(a), b)
    return quaternion_to_axis_angle(relative).square().sum(-1)


def principal_quaternion(moment: Float[Tensor, "*n 4 4"]) -> Float[Tensor, "*n 4"]:
    """The mean rotation, w >= 0, of an accumulated ``sum w q q^T`` (Markley et al. 2007)."""
    q = torch.linalg.eigh(moment).eigenvectors[..., -1]
    return torch.where(q[..., :1] < 0, -q, q)
