"""The rasterizer in plain float64 torch, from the paper's formulas and not from the kernels'.

``visible`` finds each pixel's face by trying every face; ``paint`` recomputes the image from the
faces seen, differentiably, with coverage frozen. Vertices must lie inside the depth range.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache

import torch
from torch import Tensor


def visible(positions: Tensor, faces: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """[n, v, 4] clip positions to face + 1 (0: none) and z/w of each pixel, [n, h, w]."""
    n = len(positions)
    ids = torch.zeros(n, height, width, dtype=torch.int64)
    depth = torch.full((n, height, width), torch.inf, dtype=torch.float32)
    size = torch.tensor([width, height])
    snapped = torch.round(positions[..., :2] / positions[..., 3:] * size * 8).long()
    z = positions[..., 2] / positions[..., 3]
    x = (16 * torch.arange(width) + 8 - 8 * width).expand(height, width)
    y = (16 * torch.arange(height) + 8 - 8 * height)[:, None].expand(height, width)
    for f, face in enumerate(faces.tolist()):
        for i in range(n):
            corners = [snapped[i, v] for v in face]
            depths = [z[i, v] for v in face]
            area = _cross(corners[1] - corners[0], corners[2] - corners[0])
            if area == 0:
                continue
            if area < 0:
                corners, depths = corners[::-1], depths[::-1]
            inside = torch.ones(height, width, dtype=torch.bool)
            mean = torch.zeros(height, width, dtype=torch.float64)
            for k in range(3):
                a, b = corners[(k + 1) % 3], corners[(k + 2) % 3]
                edge = _cross(b - a, torch.stack([x - a[0], y - a[1]], -1))
                goes_down, is_bottom = b[1] < a[1], b[1] == a[1] and b[0] > a[0]
                inside &= (edge >= 0) if goes_down or is_bottom else (edge > 0)
                mean += edge / area.abs() * depths[k]
            nearer = inside & (mean.float() <= depth[i])
            ids[i][nearer] = f + 1
            depth[i][nearer] = mean.float()[nearer]
    return ids, depth


def paint(
    positions: Tensor, attributes: Tensor, faces: Tensor, ids: Tensor, depth: Tensor
) -> Tensor:
    """Interpolate and antialias, given what each pixel sees; differentiable."""
    return _antialias(interpolate(positions, attributes, faces, ids), positions, faces, ids, depth)


def interpolate(positions: Tensor, attributes: Tensor, faces: Tensor, ids: Tensor) -> Tensor:
    """The image before antialiasing."""
    n, height, width = ids.shape
    i, y, x = torch.nonzero(ids, as_tuple=True)
    face = faces[ids[i, y, x] - 1]
    corners = positions[i[:, None], face]  # [p, 3, 4]
    pixel = torch.stack([x, y], -1).to(positions)
    ndc = (2 * pixel + 1) / torch.tensor([width, height]) - 1
    shifted = corners[..., :2] - ndc[:, None] * corners[..., 3:]
    areas = torch.stack(
        [_cross(shifted[:, (k + 1) % 3], shifted[:, (k + 2) % 3]) for k in range(3)], -1
    )
    weights = areas / areas.sum(-1, keepdim=True)
    clamped = weights[:, :2].clamp(0, 1)
    clamped = clamped / clamped.sum(-1, keepdim=True).clamp_min(1)
    clamped = torch.cat([clamped, 1 - clamped.sum(-1, keepdim=True)], -1)
    weights = weights + (clamped - weights).detach()  # the clamp is transparent to the gradient
    colours = (weights[..., None] * attributes[i[:, None], face]).sum(-2)
    image = attributes.new_zeros(n, height, width, attributes.shape[-1])
    return image.index_put((i, y, x), colours)


def _antialias(
    image: Tensor, positions: Tensor, faces: Tensor, ids: Tensor, depth: Tensor
) -> Tensor:
    height, width = ids.shape[1:]
    ndc = positions[..., :2] / positions[..., 3:]
    screen = ((ndc + 1) * torch.tensor([width, height]) - 1) / 2
    silhouettes = _silhouettes(screen.detach(), faces)
    result = image
    for axis in (0, 1):
        step = torch.tensor([1 - axis, axis])
        first = ids[:, : height - axis, : width + axis - 1]
        second = ids[:, axis:, 1 - axis :]
        i, y, x = torch.nonzero(first != second, as_tuple=True)
        pixels = torch.stack([torch.stack([x, y], -1), torch.stack([x, y], -1) + step])  # [2, p, 2]
        depths = torch.stack([depth[i, p[:, 1], p[:, 0]] for p in pixels])
        chosen = (depths[0] >= depths[1]).long()
        centre = pixels[chosen, torch.arange(len(i))]
        face = ids[i, centre[:, 1], centre[:, 0]] - 1
        corners = screen[i[:, None], faces[face]] - centre[:, None]
        along, across = corners[..., axis], corners[..., 1 - axis]
        starts, ends = [1, 2, 0], [2, 0, 1]
        straddles = (across[:, starts] < 0) != (across[:, ends] < 0)
        rise = across[:, ends] - across[:, starts]
        run = along[:, ends] - along[:, starts]
        crossing = along[:, starts] - across[:, starts] * run / torch.where(straddles, rise, 1.0)
        distances = torch.where(straddles, crossing * (1 - 2 * chosen)[:, None], -torch.inf)
        distance, edge = distances.max(-1)
        row = torch.arange(len(i))
        steep = rise[row, edge].abs() >= run[row, edge].abs()
        keep = silhouettes[i, face, edge] & steep & (distance > -1 / 16) & (distance < 17 / 16)
        i, pixels, chosen, distance = i[keep], pixels[:, keep], chosen[keep], distance[keep]
        alpha = (0.5 - distance.clamp(0, 1)) * (1 - 2 * chosen)
        colours = [image[i, p[:, 1], p[:, 0]] for p in pixels]
        mixed = torch.where((alpha > 0)[:, None], pixels[0], pixels[1])
        change = alpha[:, None] * (colours[1] - colours[0])
        result = result.index_put((i, mixed[:, 1], mixed[:, 0]), change, accumulate=True)
    return result


def _silhouettes(screen: Tensor, faces: Tensor) -> Tensor:
    """[n, f, 3]: is the edge opposite corner k a silhouette?"""
    opposite = torch.tensor(_opposite(tuple(map(tuple, faces.tolist()))))
    a, b, c = (screen[:, faces[:, [(k + i) % 3 for k in range(3)]]] for i in (1, 2, 0))
    across = screen[:, opposite.clamp_min(0)]
    return (opposite < 0) | (_cross(b - a, c - a) * _cross(b - a, across - a) >= 0)


@cache
def _opposite(faces: tuple[tuple[int, int, int], ...]) -> list[list[int]]:
    """[f, 3]: the vertex across the edge opposite corner k, -1 where two faces do not share it."""
    users = defaultdict(list)
    for f, face in enumerate(faces):
        for k in range(3):
            users[frozenset((face[(k + 1) % 3], face[(k + 2) % 3]))].append((f, k))
    opposite = [[-1, -1, -1] for _ in faces]
    for pair in users.values():
        if len(pair) == 2:
            (f, k), (g, m) = pair
            opposite[f][k], opposite[g][m] = faces[g][m], faces[f][k]
    return opposite


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
