"""The CPU rasterizer: numba kernels behind one autograd function, parallel over images."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from s2hand.render import kernels

AREA_FLOOR = 1e-6
"""Bounds the interior gradients of faces seen from the edge, as nvdiffrast does; see kernels."""


class CpuRasterizer:
    """A :class:`~s2hand.render.base.Rasterizer` for tensors in main memory.

    ``threads`` (default: torch's number of threads, 1 in a ``DataLoader`` worker) share the images
    of a batch; the result does not depend on the number, to the bit. Coordinates and gradients are
    computed in float64; float32 and float64 attributes keep their type. Faces with broken vertices
    (NaN, infinite, beyond 1e6) are not drawn, and these vertices get no gradient. Compiled kernels
    are cached beside this file or in NUMBA_CACHE_DIR.
    """

    def __init__(self, threads: int | None = None, area_floor: float = AREA_FLOOR) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads={threads}: give at least 1, or None for torch's number")
        self.threads = threads
        self.area_floor = area_floor

    def __call__(
        self,
        positions: Float[Tensor, "n v 4"],
        attributes: Float[Tensor, "n v c"],
        faces: Int[Tensor, "f 3"],
        height: int,
        width: int,
    ) -> Float[Tensor, "n h w c"]:
        """See :class:`~s2hand.render.base.Rasterizer`."""
        _check(positions, attributes, faces, height, width)
        if attributes.dtype not in (torch.float32, torch.float64):
            attributes = attributes.float()
        array = faces.numpy()
        mesh = _mesh(array.tobytes(), array.dtype.str, positions.shape[1])
        keep = torch.is_grad_enabled() and (positions.requires_grad or attributes.requires_grad)
        threads = self.threads or torch.get_num_threads()
        chunks = _chunks(len(positions), threads)
        call = _Call(mesh, (height, width), chunks, self.area_floor, keep)
        image: Tensor = _Draw.apply(positions, attributes, call)
        return image


@dataclass(frozen=True)
class _Call:
    """The parameters of a call besides its tensors."""

    mesh: kernels.Mesh
    size: tuple[int, int]
    chunks: list[slice]
    """One run of images per thread."""
    area_floor: float
    keep: bool
    """Whether a backward pass may follow."""


class _Draw(torch.autograd.Function):
    """Coverage, interpolation and antialiasing; keeps faces and depths for the backward."""

    @staticmethod
    def forward(ctx: Any, positions: Tensor, attributes: Tensor, call: _Call) -> Tensor:
        n, _, channels = attributes.shape
        vertices, colours = _array(positions.double()), _array(attributes)
        visible = (n if call.keep else len(call.chunks), *call.size)
        ids, depth = np.empty(visible, np.int32), np.empty(visible, np.float32)
        # Channels first in memory, like losses and their gradients.
        image = torch.empty((n, channels, *call.size), dtype=attributes.dtype)
        out = image.numpy()

        def draw(i: int) -> None:
            part = call.chunks[i]
            slot = part if call.keep else slice(i, i + 1)
            kernels.draw(
                vertices[part], colours[part], call.mesh, ids[slot], depth[slot], out[part]
            )

        _parallel(draw, len(call.chunks))
        if call.keep:
            ctx.save_for_backward(positions, attributes)
            ctx.call, ctx.ids, ctx.depth = call, ids, depth
        return image.movedim(1, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_image: Tensor) -> tuple[Tensor, Tensor, None]:
        positions, attributes = ctx.saved_tensors
        vertices, colours, grad_out = (
            _array(positions.double()), _array(attributes), _array(grad_image.movedim(-1, 1))
        )  # fmt: skip
        grad_positions, grad_attributes = np.zeros(vertices.shape), np.zeros(colours.shape)
        call = ctx.call

        def draw(i: int) -> None:
            part = call.chunks[i]
            kernels.draw_gradient(
                vertices[part], colours[part], call.mesh, ctx.ids[part], ctx.depth[part],
                call.area_floor, grad_out[part], grad_positions[part], grad_attributes[part],
            )  # fmt: skip

        _parallel(draw, len(call.chunks))
        return (
            torch.from_numpy(grad_positions).to(positions.dtype),
            torch.from_numpy(grad_attributes).to(attributes.dtype),
            None,
        )


def _check(positions: Tensor, attributes: Tensor, faces: Tensor, height: int, width: int) -> None:
    if attributes.ndim != 3 or positions.shape != (*attributes.shape[:2], 4):
        raise ValueError(
            f"positions {tuple(positions.shape)} and attributes {tuple(attributes.shape)}: "
            "expected [n, v, 4] and [n, v, c]"
        )
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"faces {tuple(faces.shape)} {faces.dtype}: expected [f, 3] integers")
    if height < 1 or width < 1:
        raise ValueError(f"image of {height} x {width} pixels: give at least 1 x 1")
    for name, tensor in (("positions", positions), ("attributes", attributes), ("faces", faces)):
        if tensor.device.type != "cpu":
            raise ValueError(f"{name} on {tensor.device}: the CPU rasterizer takes CPU tensors")


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


@lru_cache(maxsize=16)
def _mesh(data: bytes, dtype: str, vertices: int) -> kernels.Mesh:
    """Faces as int64 and the vertex across each of their edges.

    An edge of one or of more than two faces has none: it is always a silhouette.
    """
    faces = np.frombuffer(data, dtype).reshape(-1, 3).astype(np.int64)
    if faces.size and not 0 <= faces.min() <= faces.max() < vertices:
        raise ValueError(f"faces refer to vertices {faces.min()}..{faces.max()} of {vertices}")
    start, end = np.roll(faces, -1, 1).ravel(), np.roll(faces, -2, 1).ravel()
    keys = np.minimum(start, end) * vertices + np.maximum(start, end)
    order = np.argsort(keys, kind="stable")
    _, first, counts = np.unique(keys[order], return_index=True, return_counts=True)
    one, two = order[first[counts == 2]], order[first[counts == 2] + 1]
    opposite = np.full(faces.size, -1)
    opposite[one], opposite[two] = faces.flat[two], faces.flat[one]
    return kernels.Mesh(faces, opposite.reshape(-1, 3))


def _chunks(count: int, threads: int) -> list[slice]:
    """Split ``count`` images into at most ``threads`` runs of nearly equal length."""
    parts = min(threads, count)
    return [slice(count * i // parts, count * (i + 1) // parts) for i in range(parts)]


_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def _parallel(work: Callable[[int], None], count: int) -> None:
    """Run ``work(0)`` to ``work(count - 1)``, the first in the calling thread.

    Pools are keyed by the process: a forked child must not wait for its parent's threads.
    """
    if count == 0:
        return
    futures = []
    if count > 1:
        key = (os.getpid(), count - 1)
        pool = _pools.get(key) or _pools.setdefault(key, ThreadPoolExecutor(count - 1))
        futures = [pool.submit(work, i) for i in range(1, count)]
    work(0)
    for future in futures:
        future.result()
