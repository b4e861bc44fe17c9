"""The CPU rasterizer's numba kernels: visibility, interpolation, antialiasing and their gradients.

The operations are those of Laine et al., "Modular Primitives for High-Performance Differentiable
Rendering" (2020), with nvdiffrast's conventions, so that both backends draw the same image. The
forward pass keeps only each pixel's face and depth; the backward pass computes everything else
again from them, so no work list can overflow. One thread draws an image from start to end, so the
bits do not depend on the number of threads. Geometry is computed in float64.

Pixels are counted from the first one's centre. Edge k of a face is opposite its corner k. All
kernels share this file because numba's cache notices changes only in the file of the cached kernel.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

_entry = njit(nogil=True, cache=True, error_model="numpy")
# _nrt=False: no reference counts, which would take most of the time of small functions that take
# arrays; such a function must not allocate.
_kernel = njit(  # type: ignore[call-overload]
    nogil=True, cache=True, error_model="numpy", forceinline=True, _nrt=False
)

SUBPIXELS = 16
"""Coverage is decided for vertices snapped to 1/16 pixel."""
MAX_SNAPPED = float(2**29)
"""Snapped coordinates saturate here, where edge functions still fit into int64."""
MAX_COORDINATE = 1e6
"""A vertex with a larger or NaN clip coordinate is broken: its faces are not drawn."""
MIN_W = 1e-6
"""A vertex with a smaller w is behind the camera."""
OVERSHOOT = 1 / 16
"""How far outside the two pixel centres (pixels) a silhouette may cross: snapping moves it."""


class Mesh(NamedTuple):
    """Topology, the same in all images."""

    faces: Any
    """[f, 3] int64."""
    opposite: Any
    """[f, 3] int64: the vertex across each edge, -1 where there is none."""


class ProjectedMesh(NamedTuple):
    """A mesh on the screen; the vertex arrays have five spare rows for a clipped face."""

    pixels: Any
    """[v + 5, 3]: homogeneous pixels (u w, v w, w); NaN where a vertex is broken."""
    screen: Any
    """[v + 5, 3]: u, v and z/w; NaN where a vertex is broken or behind the camera."""
    snapped: Any
    """[v + 5, 2] int64: u and v in 1/16 pixels from the middle of the image."""
    planes: Any
    """[f, 3, 3]: ``planes[f, k] . (x, y, 1)`` is proportional to barycentric k at a pixel."""
    silhouettes: Any
    """[f]: bit k is set where edge k is a silhouette."""


class Raster(NamedTuple):
    """The visible face of each pixel."""

    ids: Any
    """[h, w] int32: face + 1, or 0."""
    depth: Any
    """[h, w] float32: z/w of the face, infinite where there is no face."""


@_entry
def draw(positions: Any, attributes: Any, mesh: Mesh, ids: Any, depth: Any, image: Any) -> None:
    """Draw images of one mesh.

    positions [n, v, 4] float64, attributes [n, v, c]; image [n, c, h, w] is overwritten. ids and
    depth [m, h, w] receive the :class:`Raster` of each image; with m = n all are kept for
    :func:`draw_gradient`, with m = 1 they are scratch.
    """
    height, width = image.shape[2:]
    projected = _new_projection(positions.shape[1], len(mesh.faces))
    polygons = np.empty((3, 5, 4))
    for n in range(len(positions)):
        raster = Raster(ids[n % len(ids)], depth[n % len(ids)])
        raster.ids[:] = 0
        raster.depth[:] = np.inf
        image[n] = 0.0
        _place(positions[n], positions.shape[1], 0, height, width, projected)
        _set_up(mesh, projected)
        _draw_faces(positions[n], mesh, projected, polygons, raster)
        _paint(attributes[n], mesh, projected, raster, image[n])


@_entry
def draw_gradient(
    positions: Any, attributes: Any, mesh: Mesh, ids: Any, depth: Any, floor: float,
    grad_image: Any, grad_positions: Any, grad_attributes: Any,
) -> None:  # fmt: skip
    """The gradient of :func:`draw` with coverage frozen; both results [n, v, .] enter as zeros.

    ``floor`` (in normalised device coordinates) is added to the magnitude of a face's homogeneous
    area where it divides: faces seen from the edge then get bounded gradients.
    """
    height, width = grad_image.shape[2:]
    projected = _new_projection(positions.shape[1], len(mesh.faces))
    grad_planes, grad_pixels = np.empty_like(projected.planes), np.empty_like(projected.pixels)
    floor *= 0.25 * height * width
    for n in range(len(positions)):
        _place(positions[n], positions.shape[1], 0, height, width, projected)
        _set_up(mesh, projected)
        grad_planes[:] = 0.0
        grad_pixels[:] = 0.0
        raster = Raster(ids[n], depth[n])
        _paint_gradient(attributes[n], mesh, projected, raster, floor, grad_image[n],
                        grad_attributes[n], grad_planes, grad_pixels)  # fmt: skip
        _set_up_gradient(mesh, projected, grad_planes, grad_pixels)
        _place_gradient(height, width, grad_pixels, grad_positions[n])


@_entry
def _new_projection(vertices: int, faces: int) -> ProjectedMesh:
    return ProjectedMesh(
        np.empty((vertices + 5, 3)),
        np.empty((vertices + 5, 3)),
        np.empty((vertices + 5, 2), np.int64),
        np.empty((faces, 3, 3)),
        np.empty(faces, np.int64),
    )


# ----------------------------------------------------------------------------------------- set-up


@_kernel
def _place(
    positions: Any, count: int, first: int, height: int, width: int, projected: ProjectedMesh
) -> None:
    """Bring vertices to the screen, into the rows of ``projected`` from ``first``."""
    pixels, screen, snapped = projected.pixels, projected.screen, projected.snapped
    for i in range(count):
        x, y, z, w = positions[i, 0], positions[i, 1], positions[i, 2], positions[i, 3]
        v = first + i
        for k in range(3):
            pixels[v, k], screen[v, k] = np.nan, np.nan
        if not (abs(x) <= MAX_COORDINATE and abs(y) <= MAX_COORDINATE):
            continue
        if not (abs(z) <= MAX_COORDINATE and abs(w) <= MAX_COORDINATE):
            continue
        pixels[v, 0] = 0.5 * width * x + (0.5 * width - 0.5) * w
        pixels[v, 1] = 0.5 * height * y + (0.5 * height - 0.5) * w
        pixels[v, 2] = w
        if w >= MIN_W:
            screen[v, 0], screen[v, 1], screen[v, 2] = pixels[v, 0] / w, pixels[v, 1] / w, z / w
            snapped[v, 0] = _snap(0.5 * width * SUBPIXELS * (x / w))
            snapped[v, 1] = _snap(0.5 * height * SUBPIXELS * (y / w))


@_kernel
def _snap(value: float) -> int:
    return np.int64(np.rint(min(max(value, -MAX_SNAPPED), MAX_SNAPPED)))  # half goes to even


@_kernel
def _set_up(mesh: Mesh, projected: ProjectedMesh) -> None:
    """Fill in planes (the cross product of the other two corners' pixels) and silhouettes.

    An edge is a silhouette where no face is across, or where the face across is on the same side
    of the plane through the edge and the eye. A face with a corner behind the camera has none.
    """
    faces, pixels, screen, planes = mesh.faces, projected.pixels, projected.screen, projected.planes
    for f in range(len(faces)):
        for k in range(3):
            a, b = faces[f, (k + 1) % 3], faces[f, (k + 2) % 3]
            for x in range(3):
                y, z = (x + 1) % 3, (x + 2) % 3
                planes[f, k, x] = pixels[a, y] * pixels[b, z] - pixels[a, z] * pixels[b, y]
        projected.silhouettes[f] = 0
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        if np.isnan(screen[a, 0] + screen[b, 0] + screen[c, 0]):
            continue
        here = _side(projected, f, 0, a)
        for k in range(3):
            across = mesh.opposite[f, k]
            # A broken vertex gives NaN: its face is not drawn, so the edge is an outline.
            if across < 0 or not here * _side(projected, f, k, across) < 0:
                projected.silhouettes[f] |= 1 << k


@_kernel
def _side(projected: ProjectedMesh, f: int, k: int, v: int) -> float:
    planes, pixels = projected.planes, projected.pixels
    return (
        planes[f, k, 0] * pixels[v, 0]
        + planes[f, k, 1] * pixels[v, 1]
        + planes[f, k, 2] * pixels[v, 2]
    )


# --------------------------------------------------------------------------------------- coverage


@_kernel
def _draw_faces(
    positions: Any, mesh: Mesh, projected: ProjectedMesh, polygons: Any, raster: Raster
) -> None:
    """Draw every face; one that leaves the depth range is cut into a fan of at most three."""
    height, width = raster.ids.shape
    screen, spare = projected.screen, len(positions)
    for f in range(len(mesh.faces)):
        a, b, c = mesh.faces[f, 0], mesh.faces[f, 1], mesh.faces[f, 2]
        if abs(screen[a, 2]) <= 1 and abs(screen[b, 2]) <= 1 and abs(screen[c, 2]) <= 1:
            _draw(f + 1, a, b, c, projected, raster)
            continue
        count = _clip_face(positions, mesh, f, polygons)
        _place(polygons[2], count, spare, height, width, projected)
        for i in range(1, count - 1):
            a, b, c = spare, spare + i, spare + i + 1
            if not np.isnan(screen[a, 2] + screen[b, 2] + screen[c, 2]):
                _draw(f + 1, a, b, c, projected, raster)


@_kernel
def _clip_face(positions: Any, mesh: Mesh, f: int, polygons: Any) -> int:
    """Write the part of a face within the depth range to ``polygons[2]``; return its corners."""
    for i in range(3):
        for k in range(4):
            polygons[0, i, k] = positions[mesh.faces[f, i], k]
            if not abs(polygons[0, i, k]) <= MAX_COORDINATE:
                return 0
    count = _clip(polygons[0], 3, 1.0, polygons[1])
    return _clip(polygons[1], count, -1.0, polygons[2])


@_kernel
def _clip(polygon: Any, count: int, sign: float, clipped: Any) -> int:
    """Keep the part of a convex clip-space polygon with w + sign * z >= 0 (near +1, far -1).

    An edge is always cut from its inner towards its outer end, so that faces which share it are
    cut at the same point.
    """
    kept = 0
    for i in range(count):
        j = (i + 1) % count
        d_i, d_j = polygon[i, 3] + sign * polygon[i, 2], polygon[j, 3] + sign * polygon[j, 2]
        if d_i >= 0:
            for k in range(4):
                clipped[kept, k] = polygon[i, k]
            kept += 1
        if (d_i >= 0) != (d_j >= 0):
            inner, outer = (i, j) if d_i >= 0 else (j, i)
            d_inner, d_outer = max(d_i, d_j), min(d_i, d_j)
            fraction = d_inner / (d_inner - d_outer)
            for k in range(4):
                step = polygon[outer, k] - polygon[inner, k]
                clipped[kept, k] = polygon[inner, k] + step * fraction
            kept += 1
    return kept


@_kernel
def _draw(label: int, a: int, b: int, c: int, projected: ProjectedMesh, raster: Raster) -> None:
    """Coverage and depth test of the snapped triangle a, b, c; z/w is linear on the screen.

    Left and horizontal bottom edges belong to the triangle, right and top edges do not (y up), so
    triangles that share an edge cover each pixel once. Of equal depths the last one drawn wins.
    """
    height, width = raster.ids.shape
    ax, ay, az = projected.snapped[a, 0], projected.snapped[a, 1], projected.screen[a, 2]
    bx, by, bz = projected.snapped[b, 0], projected.snapped[b, 1], projected.screen[b, 2]
    cx, cy, cz = projected.snapped[c, 0], projected.snapped[c, 1], projected.screen[c, 2]
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    if area == 0:
        return
    if area < 0:  # orient counter-clockwise
        bx, by, bz, cx, cy, cz = cx, cy, cz, bx, by, bz
        area = -area
    # Pixel i has its centre at SUBPIXELS * i - origin.
    origin_x, origin_y = SUBPIXELS // 2 * (width - 1), SUBPIXELS // 2 * (height - 1)
    left = max((min(ax, bx, cx) + origin_x + SUBPIXELS - 1) // SUBPIXELS, 0)
    right = min((max(ax, bx, cx) + origin_x) // SUBPIXELS, width - 1)
    bottom = max((min(ay, by, cy) + origin_y + SUBPIXELS - 1) // SUBPIXELS, 0)
    top = min((max(ay, by, cy) + origin_y) // SUBPIXELS, height - 1)
    if left > right or bottom > top:
        return
    x, y = SUBPIXELS * left - origin_x, SUBPIXELS * bottom - origin_y
    # Edge functions, not negative inside: u opposite a, v opposite b, w opposite c.
    ux, uy, vx, vy, wx, wy = cx - bx, cy - by, ax - cx, ay - cy, bx - ax, by - ay
    u_row = ux * (y - by) - uy * (x - bx) - _is_exclusive(ux, uy)
    v_row = vx * (y - cy) - vy * (x - cx) - _is_exclusive(vx, vy)
    w_row = wx * (y - ay) - wy * (x - ax) - _is_exclusive(wx, wy)
    z_right = -(uy * az + vy * bz + wy * cz) / area
    z_up = (ux * az + vx * bz + wx * cz) / area
    z_row = az + (x - ax) * z_right + (y - ay) * z_up
    ux, uy, vx, vy = SUBPIXELS * ux, SUBPIXELS * uy, SUBPIXELS * vx, SUBPIXELS * vy
    wx, wy, z_right, z_up = SUBPIXELS * wx, SUBPIXELS * wy, SUBPIXELS * z_right, SUBPIXELS * z_up
    for row in range(bottom, top + 1):
        u, v, w = u_row, v_row, w_row
        inside = False
        for column in range(left, right + 1):
            if (u | v | w) >= 0:
                inside = True
                z = np.float32(z_row + (column - left) * z_right)
                if z <= raster.depth[row, column]:
                    raster.depth[row, column] = z
                    raster.ids[row, column] = label
            elif inside:
                break
            u -= uy
            v -= vy
            w -= wy
        u_row += ux
        v_row += vx
        w_row += wx
        z_row += z_up


@_kernel
def _is_exclusive(dx: int, dy: int) -> int:
    """1 for a right or top edge of a counter-clockwise triangle, 0 for a left or bottom one."""
    return 0 if dy < 0 or (dy == 0 and dx > 0) else 1


# ------------------------------------------------------------------- interpolation, antialiasing


@_kernel
def _paint(
    attributes: Any, mesh: Mesh, projected: ProjectedMesh, raster: Raster, image: Any
) -> None:
    """Interpolate each pixel and, at silhouettes, mix it with its right and upper neighbours."""
    channels, height, width = image.shape
    for y in range(height):
        for x in range(width):
            f = raster.ids[y, x] - 1
            weights = _weights(projected, f, x, y)
            if f >= 0:
                for k in range(channels):
                    image[k, y, x] += _value(attributes, mesh, f, weights, k)
            for axis in range(2):
                x2, y2 = x + 1 - axis, y + axis
                if x2 == width or y2 == height:
                    continue
                g = raster.ids[y2, x2] - 1
                if f == g or not (_has_silhouette(projected, f) or _has_silhouette(projected, g)):
                    continue
                alpha, a, _ = _mix(mesh, projected, raster, x, y, axis)
                if a < 0:
                    continue
                other = _weights(projected, g, x2, y2)
                x_mixed, y_mixed = (x, y) if alpha > 0 else (x2, y2)
                for k in range(channels):
                    first = _value(attributes, mesh, f, weights, k)
                    second = _value(attributes, mesh, g, other, k)
                    image[k, y_mixed, x_mixed] += alpha * (second - first)


@_kernel
def _has_silhouette(projected: ProjectedMesh, f: int) -> bool:
    return f >= 0 and projected.silhouettes[f] != 0


@_kernel
def _areas(projected: ProjectedMesh, f: int, x: int, y: int) -> tuple[float, float, float]:
    """Areas that the barycentric coordinates of a pixel in face f are proportional to."""
    planes = projected.planes
    return (
        planes[f, 0, 0] * x + planes[f, 0, 1] * y + planes[f, 0, 2],
        planes[f, 1, 0] * x + planes[f, 1, 1] * y + planes[f, 1, 2],
        planes[f, 2, 0] * x + planes[f, 2, 1] * y + planes[f, 2, 2],
    )


@_kernel
def _weights(projected: ProjectedMesh, f: int, x: int, y: int) -> tuple[float, float, float]:
    """Perspective-correct barycentric coordinates of a pixel, clamped to face f; zero for none."""
    if f < 0:
        return 0.0, 0.0, 0.0
    a, b, c = _areas(projected, f, x, y)
    total = a + b + c
    inverse = 1 / total if total != 0 else 0.0
    u = min(max(a * inverse, 0.0), 1.0)
    v = min(max(b * inverse, 0.0), 1.0)
    scale = 1 / max(u + v, 1.0)
    u, v = u * scale, v * scale
    return u, v, 1 - u - v


@_kernel
def _value(attributes: Any, mesh: Mesh, f: int, weights: Any, k: int) -> float:
    """Channel k of face f's colour; zero where there is no face."""
    if f < 0:
        return 0.0
    a, b, c = mesh.faces[f, 0], mesh.faces[f, 1], mesh.faces[f, 2]
    u, v, w = weights
    return u * attributes[a, k] + v * attributes[b, k] + w * attributes[c, k]


@_kernel
def _mix(
    mesh: Mesh, projected: ProjectedMesh, raster: Raster, x: int, y: int, axis: int
) -> tuple[float, int, int]:
    """How a pixel and the next one along ``axis`` mix at a silhouette of the nearer one's face.

    Returns alpha (> 0: the first takes this fraction of the second; < 0: the reverse) and the
    edge's two vertices, -1 where there is none.
    """
    ids, depth = raster.ids, raster.depth
    x2, y2 = x + 1 - axis, y + axis
    if depth[y, x] < depth[y2, x2]:  # an empty pixel is infinitely far
        d, a, b = _crossing(mesh, projected, ids[y, x] - 1, x, y, axis, 1)
        return 0.5 - d, a, b
    d, a, b = _crossing(mesh, projected, ids[y2, x2] - 1, x2, y2, axis, -1)
    return d - 0.5, a, b


@_kernel
def _crossing(
    mesh: Mesh, projected: ProjectedMesh, f: int, x: int, y: int, axis: int, direction: int
) -> tuple[float, int, int]:
    """Where a silhouette of face f, seen at pixel (x, y), crosses the line to the neighbour.

    Returns the distance from the pixel's centre, 0 to 1, and the edge's two vertices; vertices -1
    where the edge crossed farthest is not a silhouette, not steep or not between the centres.
    """
    faces, screen = mesh.faces, projected.screen
    along, across = (x, y) if axis == 0 else (y, x)
    distance, edge = -np.inf, -1
    for k in range(3):
        a, b = faces[f, (k + 1) % 3], faces[f, (k + 2) % 3]
        a_across, b_across = screen[a, 1 - axis] - across, screen[b, 1 - axis] - across
        if (a_across < 0) != (b_across < 0):
            a_along, b_along = screen[a, axis] - along, screen[b, axis] - along
            d = direction * (a_along * b_across - b_along * a_across) / (b_across - a_across)
            if d > distance:
                distance, edge = d, k
    is_silhouette = edge >= 0 and projected.silhouettes[f] >> edge & 1
    if not is_silhouette or not -OVERSHOOT < distance < 1 + OVERSHOOT:
        return 0.5, -1, -1
    a, b = faces[f, (edge + 1) % 3], faces[f, (edge + 2) % 3]
    if abs(screen[b, 1 - axis] - screen[a, 1 - axis]) < abs(screen[b, axis] - screen[a, axis]):
        return 0.5, -1, -1
    return min(max(distance, 0.0), 1.0), a, b


# -------------------------------------------------------------------------------------- gradients


@_kernel
def _paint_gradient(
    attributes: Any, mesh: Mesh, projected: ProjectedMesh, raster: Raster, floor: float,
    grad_image: Any, grad_attributes: Any, grad_planes: Any, grad_pixels: Any,
) -> None:  # fmt: skip
    """The gradient of :func:`_paint` in attributes, planes and homogeneous pixels."""
    channels, height, width = grad_image.shape
    for y in range(height):
        for x in range(width):
            f = raster.ids[y, x] - 1
            if f >= 0:
                _colour_gradient(attributes, mesh, projected, f, x, y, floor, 1.0, grad_image, y, x,
                                 grad_attributes, grad_planes)  # fmt: skip
            for axis in range(2):
                x2, y2 = x + 1 - axis, y + axis
                if x2 == width or y2 == height:
                    continue
                g = raster.ids[y2, x2] - 1
                if f == g or not (_has_silhouette(projected, f) or _has_silhouette(projected, g)):
                    continue
                alpha, a, b = _mix(mesh, projected, raster, x, y, axis)
                if a < 0:
                    continue
                x_mixed, y_mixed = (x, y) if alpha > 0 else (x2, y2)
                _colour_gradient(attributes, mesh, projected, f, x, y, floor, -alpha, grad_image,
                                 y_mixed, x_mixed, grad_attributes, grad_planes)  # fmt: skip
                _colour_gradient(attributes, mesh, projected, g, x2, y2, floor, alpha, grad_image,
                                 y_mixed, x_mixed, grad_attributes, grad_planes)  # fmt: skip
                if abs(alpha) < 0.5:
                    weights = _weights(projected, f, x, y)
                    other = _weights(projected, g, x2, y2)
                    grad_alpha = 0.0
                    for k in range(channels):
                        first = _value(attributes, mesh, f, weights, k)
                        second = _value(attributes, mesh, g, other, k)
                        grad_alpha += grad_image[k, y_mixed, x_mixed] * (second - first)
                    # alpha = +-(1/2 - d) with d = +-(crossing - centre): the signs cancel.
                    _crossing_gradient(projected, a, b, x, y, axis, -grad_alpha, grad_pixels)


@_kernel
def _colour_gradient(
    attributes: Any, mesh: Mesh, projected: ProjectedMesh, f: int, x: int, y: int, floor: float,
    factor: float, grad: Any, row: int, column: int, grad_attributes: Any, grad_planes: Any,
) -> None:  # fmt: skip
    """Carry ``factor * grad[:, row, column]`` from pixel (x, y) to its face f."""
    if f < 0:
        return
    u, v, w = _weights(projected, f, x, y)
    i, j, k = mesh.faces[f, 0], mesh.faces[f, 1], mesh.faces[f, 2]
    grad_u, grad_v, grad_w = 0.0, 0.0, 0.0
    for m in range(len(grad)):
        g = factor * grad[m, row, column]
        grad_attributes[i, m] += u * g
        grad_attributes[j, m] += v * g
        grad_attributes[k, m] += w * g
        grad_u += g * attributes[i, m]
        grad_v += g * attributes[j, m]
        grad_w += g * attributes[k, m]
    # The clamp of the weights is transparent to the gradient.
    u, v, w = _areas(projected, f, x, y)
    total = u + v + w
    total += floor if total >= 0 else -floor
    inverse = 1 / total if total != 0 else 0.0
    mean = (grad_u * u + grad_v * v + grad_w * w) * inverse
    grad_u, grad_v, grad_w = grad_u - mean, grad_v - mean, grad_w - mean
    x_scaled, y_scaled = x * inverse, y * inverse
    grad_planes[f, 0, 0] += grad_u * x_scaled
    grad_planes[f, 0, 1] += grad_u * y_scaled
    grad_planes[f, 0, 2] += grad_u * inverse
    grad_planes[f, 1, 0] += grad_v * x_scaled
    grad_planes[f, 1, 1] += grad_v * y_scaled
    grad_planes[f, 1, 2] += grad_v * inverse
    grad_planes[f, 2, 0] += grad_w * x_scaled
    grad_planes[f, 2, 1] += grad_w * y_scaled
    grad_planes[f, 2, 2] += grad_w * inverse


@_kernel
def _crossing_gradient(
    projected: ProjectedMesh,
    a: int,
    b: int,
    x: int,
    y: int,
    axis: int,
    grad: float,
    grad_pixels: Any,
) -> None:
    """Carry the gradient of a crossing's coordinate along ``axis`` to the edge's two vertices."""
    screen = projected.screen
    across = y if axis == 0 else x
    b_across = screen[b, 1 - axis] - across
    height = screen[b, 1 - axis] - screen[a, 1 - axis]
    slope = (screen[b, axis] - screen[a, axis]) / height
    part = grad * b_across / height
    _screen_gradient(projected, a, axis, part, -slope * part, grad_pixels)
    part = grad - part
    _screen_gradient(projected, b, axis, part, -slope * part, grad_pixels)


@_kernel
def _screen_gradient(
    projected: ProjectedMesh, v: int, axis: int, along: float, across: float, grad_pixels: Any
) -> None:
    """Carry a gradient of (u, v) to (u w, v w, w)."""
    screen, w = projected.screen, projected.pixels[v, 2]
    grad_pixels[v, axis] += along / w
    grad_pixels[v, 1 - axis] += across / w
    grad_pixels[v, 2] -= (along * screen[v, axis] + across * screen[v, 1 - axis]) / w


@_kernel
def _set_up_gradient(
    mesh: Mesh, projected: ProjectedMesh, grad_planes: Any, grad_pixels: Any
) -> None:
    """Carry the gradient of planes, cross products, to homogeneous pixels."""
    faces, pixels = mesh.faces, projected.pixels
    for f in range(len(faces)):
        for k in range(3):
            gx, gy, gz = grad_planes[f, k, 0], grad_planes[f, k, 1], grad_planes[f, k, 2]
            if gx == 0 and gy == 0 and gz == 0:  # invisible, or with a broken vertex
                continue
            a, b = faces[f, (k + 1) % 3], faces[f, (k + 2) % 3]
            for x in range(3):
                y, z = (x + 1) % 3, (x + 2) % 3
                gy, gz = grad_planes[f, k, y], grad_planes[f, k, z]
                grad_pixels[a, x] += pixels[b, y] * gz - pixels[b, z] * gy
                grad_pixels[b, x] += pixels[a, z] * gy - pixels[a, y] * gz


@_kernel
def _place_gradient(height: int, width: int, grad_pixels: Any, grad_positions: Any) -> None:
    """Carry the gradient of homogeneous pixels to clip positions; z gets none."""
    for v in range(len(grad_positions)):
        gx, gy = grad_pixels[v, 0], grad_pixels[v, 1]
        grad_positions[v, 0] = 0.5 * width * gx
        grad_positions[v, 1] = 0.5 * height * gy
        grad_positions[v, 3] = (
            (0.5 * width - 0.5) * gx + (0.5 * height - 0.5) * gy + grad_pixels[v, 2]
        )
