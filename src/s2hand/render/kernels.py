"""The CPU rasterizer's numba kernels: visibility, interpolation, antialiasing and their gradients.

The operations are those of Laine et al., "Modular Primitives for High-Performance Differentiable
Rendering" (2020), with nvdiffrast's conventions, so that both backends mean the same. The forward
pass keeps nothing but the image of visible faces; the backward pass finds everything else again
from it, so no work list exists that could overflow. Each image is drawn by one thread from start
to end: the bits do not depend on the number of threads. Geometry is in float64 whatever the inputs.

All kernels share one file because numba's cache notices a change in the kernel's own file only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_jit = njit(nogil=True, cache=True, error_model="numpy")

SUBPIXELS = 16
"""Vertices are snapped to 1/16 pixel for the coverage test."""
MAX_SNAPPED = float(2**29)
"""Snapped coordinates saturate here; edge functions of such vertices still fit into int64."""
MAX_COORDINATE = 1e6
"""A vertex with a clip coordinate beyond this, or not finite, is broken: its faces are not drawn."""
MIN_W = 1e-6
"""A vertex with a smaller w counts as behind the camera."""
OVERSHOOT = 1 / 16
"""A silhouette crossing may lie so far (pixels) outside the two pixel centres: snapping moves it."""


@_jit
def _project(positions: Any, height: int, width: int, screen: Any, snapped: Any) -> None:
    """Pixel coordinates and z/w of each vertex; NaN where it is broken or behind the camera."""
    for v in range(len(positions)):
        x, y, z, w = positions[v, 0], positions[v, 1], positions[v, 2], positions[v, 3]
        largest = max(abs(x), abs(y), abs(z), abs(w))
        if w >= MIN_W and largest <= MAX_COORDINATE:
            _place(x, y, z, w, height, width, screen[v], snapped[v])
        else:
            screen[v] = np.nan


@_jit
def _place(
    x: float, y: float, z: float, w: float, height: int, width: int, screen: Any, snapped: Any
) -> None:
    """Pixel coordinates (centres at integers) and z/w; coordinates from the centre, 1/16 pixels."""
    right, up = x / w * (0.5 * width), y / w * (0.5 * height)
    screen[0] = right + 0.5 * width - 0.5
    screen[1] = up + 0.5 * height - 0.5
    screen[2] = z / w
    # np.rint rounds half to even
    snapped[0] = np.int64(np.rint(min(max(right * SUBPIXELS, -MAX_SNAPPED), MAX_SNAPPED)))
    snapped[1] = np.int64(np.rint(min(max(up * SUBPIXELS, -MAX_SNAPPED), MAX_SNAPPED)))


@_jit
def _set_up(
    positions: Any, faces: Any, opposite: Any, screen: Any, planes: Any, edges: Any
) -> None:
    """Barycentric planes of each face and which of its edges are silhouettes (bits 0, 1, 2).

    Row k of ``planes[f]`` is the cross product of the homogeneous screen positions (x, y, w) of the
    other two vertices: its product with (X, Y, 1) is barycentric k times their common sum. Edge k
    lies opposite vertex k. An edge is a silhouette where no face is across, or where the face
    across lies on the same side of the plane through the edge and the eye.
    """
    for f in range(len(faces)):
        for k in range(3):
            a, b = faces[f, (k + 1) % 3], faces[f, (k + 2) % 3]
            ax, ay, aw = positions[a, 0], positions[a, 1], positions[a, 3]
            bx, by, bw = positions[b, 0], positions[b, 1], positions[b, 3]
            planes[f, k, 0] = ay * bw - aw * by
            planes[f, k, 1] = aw * bx - ax * bw
            planes[f, k, 2] = ax * by - ay * bx
        edges[f] = 0
        if np.isnan(screen[faces[f, 0], 0] + screen[faces[f, 1], 0] + screen[faces[f, 2], 0]):
            continue
        own = faces[f, 0]
        side = _side(planes[f, 0], positions[own])
        for k in range(3):
            other = opposite[f, k]
            # A face across that is broken (NaN) is not drawn, so the edge bounds what is.
            if other < 0 or not side * _side(planes[f, k], positions[other]) < 0:
                edges[f] |= 1 << k


@_jit
def _side(plane: Any, position: Any) -> float:
    return plane[0] * position[0] + plane[1] * position[1] + plane[2] * position[3]


@_jit
def _draw_face(
    positions: Any, face: Any, label: int, screen: Any, snapped: Any, ids: Any, depth: Any
) -> None:
    """Draw one face, clipped to the depth range where it leaves it."""
    a, b, c = face[0], face[1], face[2]
    outside = False
    for v in face:
        for k in range(4):
            if not abs(positions[v, k]) <= MAX_COORDINATE:
                return
        outside |= not abs(screen[v, 2]) <= 1.0
    if not outside:
        _draw(snapped[a], snapped[b], snapped[c], screen[a, 2], screen[b, 2], screen[c, 2],
              label, ids, depth)  # fmt: skip
        return
    polygon = np.empty((3, 4))
    for i in range(3):
        polygon[i] = positions[face[i]]
    polygon = _clip(_clip(polygon, 1.0), -1.0)
    height, width = ids.shape
    corner_screen, corner = np.empty((len(polygon), 3)), np.empty((len(polygon), 2), np.int64)
    for i in range(len(polygon)):
        if not polygon[i, 3] >= MIN_W:
            return
        x, y, z, w = polygon[i, 0], polygon[i, 1], polygon[i, 2], polygon[i, 3]
        _place(x, y, z, w, height, width, corner_screen[i], corner[i])
    for i in range(1, len(polygon) - 1):
        _draw(corner[0], corner[i], corner[i + 1],
              corner_screen[0, 2], corner_screen[i, 2], corner_screen[i + 1, 2],
              label, ids, depth)  # fmt: skip


@_jit
def _clip(polygon: Any, sign: float) -> Any:
    """The part of a convex clip-space polygon with w + sign * z >= 0 (near +1, far -1).

    An edge is always cut from its inner towards its outer end, so that faces which share it are
    cut at the same point.
    """
    clipped = np.empty((len(polygon) + 1, 4))
    count = 0
    for i in range(len(polygon)):
        start, end = polygon[i], polygon[(i + 1) % len(polygon)]
        d_start, d_end = start[3] + sign * start[2], end[3] + sign * end[2]
        if d_start >= 0:
            clipped[count] = start
            count += 1
        if (d_start >= 0) != (d_end >= 0):
            if d_start >= 0:
                clipped[count] = start + (end - start) * (d_start / (d_start - d_end))
            else:
                clipped[count] = end + (start - end) * (d_end / (d_end - d_start))
            count += 1
    return clipped[:count]


@_jit
def _draw(
    a: Any, b: Any, c: Any, az: float, bz: float, cz: float, label: int, ids: Any, depth: Any
) -> None:
    """Coverage and depth test of a snapped triangle; z/w is linear on the screen.

    Left and horizontal bottom edges belong to the triangle, right and top edges do not (y up), so
    triangles that share an edge cover each pixel once. Of equal depths the last drawn is seen.
    """
    height, width = ids.shape
    ax, ay, bx, by, cx, cy = a[0], a[1], b[0], b[1], c[0], c[1]
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    if area == 0:
        return
    if area < 0:  # orient counter-clockwise
        bx, by, bz, cx, cy, cz = cx, cy, cz, bx, by, bz
        area = -area
    # Pixel i has its centre at 16 i - origin.
    origin_x, origin_y = SUBPIXELS // 2 * (width - 1), SUBPIXELS // 2 * (height - 1)
    left = max((min(ax, bx, cx) + origin_x + SUBPIXELS - 1) // SUBPIXELS, 0)
    right = min((max(ax, bx, cx) + origin_x) // SUBPIXELS, width - 1)
    bottom = max((min(ay, by, cy) + origin_y + SUBPIXELS - 1) // SUBPIXELS, 0)
    top = min((max(ay, by, cy) + origin_y) // SUBPIXELS, height - 1)
    if left > right or bottom > top:
        return
    px, py = SUBPIXELS * left - origin_x, SUBPIXELS * bottom - origin_y
    ux, uy, vx, vy, wx, wy = cx - bx, cy - by, ax - cx, ay - cy, bx - ax, by - ay
    # Edge functions, positive inside; an exclusive edge loses the value 0.
    u_row = ux * (py - by) - uy * (px - bx) - _exclusive(ux, uy)
    v_row = vx * (py - cy) - vy * (px - cx) - _exclusive(vx, vy)
    w_row = wx * (py - ay) - wy * (px - ax) - _exclusive(wx, wy)
    z_right = -(uy * az + vy * bz + wy * cz) / area
    z_up = (ux * az + vx * bz + wx * cz) / area
    z_row = az + (px - ax) * z_right + (py - ay) * z_up
    ux, uy, vx, vy = SUBPIXELS * ux, SUBPIXELS * uy, SUBPIXELS * vx, SUBPIXELS * vy
    wx, wy, z_right, z_up = SUBPIXELS * wx, SUBPIXELS * wy, SUBPIXELS * z_right, SUBPIXELS * z_up
    for y in range(bottom, top + 1):
        u, v, w, z = u_row, v_row, w_row, z_row
        for x in range(left, right + 1):
            if (u | v | w) >= 0 and z <= depth[y, x]:
                depth[y, x] = z
                ids[y, x] = label
            u -= uy
            v -= vy
            w -= wy
            z += z_right
        u_row += ux
        v_row += vx
        w_row += wx
        z_row += z_up


@_jit
def _exclusive(dx: int, dy: int) -> int:
    """1 for a right or top edge of a counter-clockwise triangle, 0 for a left or bottom one."""
    return 0 if dy < 0 or (dy == 0 and dx > 0) else 1


@_jit
def _barycentric(planes: Any, x: int, y: int, height: int, width: int) -> tuple[float, ...]:
    """Perspective-correct weights of a face at a pixel centre, clamped to the face."""
    right, up = (2 * x + 1) / width - 1, (2 * y + 1) / height - 1
    a = planes[0, 0] * right + planes[0, 1] * up + planes[0, 2]
    b = planes[1, 0] * right + planes[1, 1] * up + planes[1, 2]
    c = planes[2, 0] * right + planes[2, 1] * up + planes[2, 2]
    total = a + b + c
    inverse = 1 / total if total != 0 else 0.0
    u = min(max(a * inverse, 0.0), 1.0)
    v = min(max(b * inverse, 0.0), 1.0)
    scale = 1 / max(u + v, 1.0)
    u, v = u * scale, v * scale
    return u, v, 1 - u - v


@_jit
def _depth(positions: Any, face: Any, planes: Any, x: int, y: int, shape: Any) -> float:
    u, v, w = _barycentric(planes, x, y, shape[0], shape[1])
    a, b, c = positions[face[0]], positions[face[1]], positions[face[2]]
    return (u * a[2] + v * b[2] + w * c[2]) / (u * a[3] + v * b[3] + w * c[3])


@_jit
def _colour(attributes: Any, face: Any, planes: Any, x: int, y: int, shape: Any, out: Any) -> None:
    """Interpolate the attributes of a face at a pixel centre."""
    u, v, w = _barycentric(planes, x, y, shape[0], shape[1])
    a, b, c = face[0], face[1], face[2]
    for k in range(len(out)):
        out[k] = u * attributes[a, k] + v * attributes[b, k] + w * attributes[c, k]


@_jit
def _crossing(
    screen: Any, face: Any, edges: int, x: int, y: int, axis: int, direction: int
) -> tuple[float, int, int]:
    """Where a silhouette of the face at pixel (x, y) crosses the line to its neighbour.

    Returns the distance from the pixel's centre in pixels and the edge's two vertices, or vertices
    -1 where the edge crossed farthest is no silhouette, not steep or not between the centres.
    """
    distance, edge = -np.inf, -1
    along_0, across_0 = (x, y) if axis == 0 else (y, x)
    for k in range(3):
        a, b = face[(k + 1) % 3], face[(k + 2) % 3]
        a_across, b_across = screen[a, 1 - axis] - across_0, screen[b, 1 - axis] - across_0
        if (a_across < 0) != (b_across < 0):
            a_along, b_along = screen[a, axis] - along_0, screen[b, axis] - along_0
            d = direction * (a_along * b_across - b_along * a_across) / (b_across - a_across)
            if d > distance:
                distance, edge = d, k
    if edge < 0 or not edges >> edge & 1 or not -OVERSHOOT < distance < 1 + OVERSHOOT:
        return 0.0, -1, -1
    a, b = face[(edge + 1) % 3], face[(edge + 2) % 3]
    across, along = screen[b, 1 - axis] - screen[a, 1 - axis], screen[b, axis] - screen[a, axis]
    if abs(across) < abs(along):
        return 0.0, -1, -1
    return min(max(distance, 0.0), 1.0), a, b


@_jit
def _blend(
    positions: Any, faces: Any, screen: Any, planes: Any, edges: Any, ids: Any, x: int, y: int,
    axis: int,
) -> tuple[float, int, int, int]:  # fmt: skip
    """How the pixel and its next one along ``axis``, of different faces, mix at a silhouette.

    Returns alpha (> 0: the first takes so much of the second; < 0: the second of the first), the
    edge's two vertices, and +1 where the face in front is the first pixel's, -1 where the second's.
    """
    x2, y2 = x + (axis == 0), y + (axis == 1)
    first, second = ids[y, x] - 1, ids[y2, x2] - 1
    if (first < 0 or edges[first] == 0) and (second < 0 or edges[second] == 0):
        return 0.0, -1, -1, 0
    chosen_first = second < 0
    if first >= 0 and second >= 0:
        near = _depth(positions, faces[first], planes[first], x, y, ids.shape)
        chosen_first = near < _depth(positions, faces[second], planes[second], x2, y2, ids.shape)
    if chosen_first:
        d, a, b = _crossing(screen, faces[first], edges[first], x, y, axis, 1)
        return (0.5 - d if a >= 0 else 0.0), a, b, 1
    d, a, b = _crossing(screen, faces[second], edges[second], x2, y2, axis, -1)
    return (d - 0.5 if a >= 0 else 0.0), a, b, -1


@_jit
def draw(positions: Any, attributes: Any, faces: Any, opposite: Any, ids: Any, image: Any) -> None:
    """Draw images of one mesh topology.

    positions [n, v, 4] float64, attributes [n, v, c], faces [f, 3], opposite [f, 3] the vertex
    across edge k of a face or -1; image [n, h, w, c] comes as zeros. ids [m, h, w] receives face + 1
    or 0; with m = n all are kept for :func:`draw_gradient`, with m = 1 it is only scratch.
    """
    height, width, channels = image.shape[1:]
    vertices = positions.shape[1]
    screen, snapped = np.empty((vertices, 3)), np.empty((vertices, 2), np.int64)
    planes, edges = np.empty((len(faces), 3, 3)), np.empty(len(faces), np.int64)
    depth = np.empty((height, width))
    first, second = np.empty(channels), np.empty(channels)
    for n in range(len(positions)):
        visible, out = ids[n % len(ids)], image[n]
        visible[:] = 0
        depth[:] = np.inf
        _project(positions[n], height, width, screen, snapped)
        _set_up(positions[n], faces, opposite, screen, planes, edges)
        for f in range(len(faces)):
            _draw_face(positions[n], faces[f], f + 1, screen, snapped, visible, depth)
        for y in range(height):
            for x in range(width):
                f = visible[y, x] - 1
                if f >= 0:
                    _colour(attributes[n], faces[f], planes[f], x, y, visible.shape, first)
                    for k in range(channels):
                        out[y, x, k] += first[k]
                for axis in range(2):
                    x2, y2 = x + (axis == 0), y + (axis == 1)
                    if x2 == width or y2 == height or visible[y2, x2] == f + 1:
                        continue
                    alpha, _, _, _ = _blend(
                        positions[n], faces, screen, planes, edges, visible, x, y, axis
                    )
                    if alpha != 0:
                        _pixel(attributes[n], faces, planes, visible, x, y, first)
                        _pixel(attributes[n], faces, planes, visible, x2, y2, second)
                        tx, ty = (x, y) if alpha > 0 else (x2, y2)
                        for k in range(channels):
                            out[ty, tx, k] += alpha * (second[k] - first[k])


@_jit
def _pixel(attributes: Any, faces: Any, planes: Any, ids: Any, x: int, y: int, out: Any) -> None:
    """The colour of a pixel before antialiasing, zero where it is empty."""
    f = ids[y, x] - 1
    if f < 0:
        out[:] = 0.0
    else:
        _colour(attributes, faces[f], planes[f], x, y, ids.shape, out)


@_jit
def _pixel_gradient(
    attributes: Any, face: Any, planes: Any, x: int, y: int, shape: Any, floor: float,
    grad: Any, grad_attributes: Any, grad_planes: Any,
) -> None:  # fmt: skip
    """Carry the gradient of a pixel's colour to the attributes and to the face's planes."""
    u, v, w = _barycentric(planes, x, y, shape[0], shape[1])
    a, b, c = face[0], face[1], face[2]
    grad_u, grad_v, grad_w = 0.0, 0.0, 0.0
    for k in range(len(grad)):
        g = grad[k]
        grad_attributes[a, k] += u * g
        grad_attributes[b, k] += v * g
        grad_attributes[c, k] += w * g
        grad_u += g * attributes[a, k]
        grad_v += g * attributes[b, k]
        grad_w += g * attributes[c, k]
    # The clamp of the weights is transparent, and their unclamped values divide by the floored sum.
    right, up = (2 * x + 1) / shape[1] - 1, (2 * y + 1) / shape[0] - 1
    a_area = planes[0, 0] * right + planes[0, 1] * up + planes[0, 2]
    b_area = planes[1, 0] * right + planes[1, 1] * up + planes[1, 2]
    c_area = planes[2, 0] * right + planes[2, 1] * up + planes[2, 2]
    total = a_area + b_area + c_area
    total += floor if total >= 0 else -floor
    inverse = 1 / total if total != 0 else 0.0
    mean = (grad_u * a_area + grad_v * b_area + grad_w * c_area) * inverse
    grad_u, grad_v, grad_w = (
        (grad_u - mean) * inverse, (grad_v - mean) * inverse, (grad_w - mean) * inverse
    )  # fmt: skip
    grad_planes[0, 0] += grad_u * right
    grad_planes[0, 1] += grad_u * up
    grad_planes[0, 2] += grad_u
    grad_planes[1, 0] += grad_v * right
    grad_planes[1, 1] += grad_v * up
    grad_planes[1, 2] += grad_v
    grad_planes[2, 0] += grad_w * right
    grad_planes[2, 1] += grad_w * up
    grad_planes[2, 2] += grad_w


@_jit
def _crossing_gradient(
    screen: Any, a: int, b: int, x: int, y: int, axis: int, grad: float, grad_screen: Any
) -> None:
    """Carry the gradient of a crossing's coordinate along ``axis`` to the edge's two vertices."""
    across_0 = y if axis == 0 else x
    a_across, b_across = screen[a, 1 - axis] - across_0, screen[b, 1 - axis] - across_0
    a_weight = b_across / (b_across - a_across)
    slope = (screen[b, axis] - screen[a, axis]) / (b_across - a_across)
    grad_screen[a, axis] += grad * a_weight
    grad_screen[b, axis] += grad * (1 - a_weight)
    grad_screen[a, 1 - axis] -= grad * a_weight * slope
    grad_screen[b, 1 - axis] -= grad * (1 - a_weight) * slope


@_jit
def draw_gradient(
    positions: Any, attributes: Any, faces: Any, opposite: Any, ids: Any, floor: float,
    grad_image: Any, grad_positions: Any, grad_attributes: Any,
) -> None:  # fmt: skip
    """The gradient of :func:`draw` with coverage frozen; both results [n, v, .] come as zeros.

    ``floor`` is added to the magnitude of a face's homogeneous area before dividing by it: faces
    seen from the edge then get bounded gradients.
    """
    height, width, channels = grad_image.shape[1:]
    vertices = positions.shape[1]
    screen, snapped = np.empty((vertices, 3)), np.empty((vertices, 2), np.int64)
    planes, edges = np.empty((len(faces), 3, 3)), np.empty(len(faces), np.int64)
    grad_planes, grad_screen = np.empty_like(planes), np.empty((vertices, 2))
    grad_colour = np.empty((vertices, channels))
    first, second, grad = np.empty(channels), np.empty(channels), np.empty(channels)
    for n in range(len(positions)):
        visible, grad_out = ids[n], grad_image[n]
        _project(positions[n], height, width, screen, snapped)
        _set_up(positions[n], faces, opposite, screen, planes, edges)
        grad_planes[:] = 0.0
        grad_screen[:] = 0.0
        grad_colour[:] = 0.0
        for y in range(height):
            for x in range(width):
                f = visible[y, x] - 1
                if f >= 0:
                    _pixel_gradient(attributes[n], faces[f], planes[f], x, y, visible.shape, floor,
                                    grad_out[y, x], grad_colour, grad_planes[f])  # fmt: skip
                for axis in range(2):
                    x2, y2 = x + (axis == 0), y + (axis == 1)
                    if x2 == width or y2 == height or visible[y2, x2] == f + 1:
                        continue
                    alpha, a, b, chosen = _blend(
                        positions[n], faces, screen, planes, edges, visible, x, y, axis
                    )
                    if alpha == 0 and a < 0:
                        continue
                    _pixel(attributes[n], faces, planes, visible, x, y, first)
                    _pixel(attributes[n], faces, planes, visible, x2, y2, second)
                    tx, ty = (x, y) if alpha > 0 else (x2, y2)
                    grad_alpha = 0.0
                    for k in range(channels):
                        grad_alpha += grad_out[ty, tx, k] * (second[k] - first[k])
                        grad[k] = alpha * grad_out[ty, tx, k]
                    g = visible[y2, x2] - 1
                    if g >= 0:
                        _pixel_gradient(attributes[n], faces[g], planes[g], x2, y2, visible.shape,
                                        floor, grad, grad_colour, grad_planes[g])  # fmt: skip
                    if f >= 0:
                        for k in range(channels):
                            grad[k] = -grad[k]
                        _pixel_gradient(attributes[n], faces[f], planes[f], x, y, visible.shape,
                                        floor, grad, grad_colour, grad_planes[f])  # fmt: skip
                    if abs(alpha) < 0.5:
                        # alpha = +-(1/2 - d) and d = +-(crossing - centre): the signs cancel.
                        _crossing_gradient(screen, a, b, x, y, axis, -grad_alpha, grad_screen)
        _scatter(positions[n], faces, height, width, grad_planes, grad_screen, grad_positions[n])
        grad_attributes[n] = grad_colour


@_jit
def _scatter(
    positions: Any, faces: Any, height: int, width: int, grad_planes: Any, grad_screen: Any,
    grad_positions: Any,
) -> None:  # fmt: skip
    """Carry gradients of planes (cross products) and pixel coordinates to clip positions."""
    for f in range(len(faces)):
        for k in range(3):
            gx, gy, gw = grad_planes[f, k, 0], grad_planes[f, k, 1], grad_planes[f, k, 2]
            if gx == 0 and gy == 0 and gw == 0:
                continue
            a, b = faces[f, (k + 1) % 3], faces[f, (k + 2) % 3]
            ax, ay, aw = positions[a, 0], positions[a, 1], positions[a, 3]
            bx, by, bw = positions[b, 0], positions[b, 1], positions[b, 3]
            grad_positions[a, 0] += by * gw - bw * gy
            grad_positions[a, 1] += bw * gx - bx * gw
            grad_positions[a, 3] += bx * gy - by * gx
            grad_positions[b, 0] += gy * aw - gw * ay
            grad_positions[b, 1] += gw * ax - gx * aw
            grad_positions[b, 3] += gx * ay - gy * ax
    for v in range(len(positions)):
        gx, gy = grad_screen[v, 0] * (0.5 * width), grad_screen[v, 1] * (0.5 * height)
        if gx != 0 or gy != 0:
            x, y, w = positions[v, 0], positions[v, 1], positions[v, 3]
            grad_positions[v, 0] += gx / w
            grad_positions[v, 1] += gy / w
            grad_positions[v, 3] -= (gx * x + gy * y) / (w * w)
