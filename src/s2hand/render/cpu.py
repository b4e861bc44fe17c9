"""The CPU rasterizer: numba kernels behind one autograd function, parallel over images."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from s2hand.render import kernels

AREA_FLOOR = 1e-6
"""Regulariser of interior gradients: added to a face's homogeneous area, as nvdiffrast does."""


class CpuRasterizer:
    """A :class:`~s2hand.render.base.Rasterizer` for tensors in main memory.

    ``threads`` (default: torch's number of threads, 1 in a ``DataLoader`` worker) share the images
    of a batch; the result has the same bits for every number. Coordinates and gradients are
    computed in float64; float32 and float64 attributes keep their type. Broken vertices (NaN,
    infinite, beyond 1e6) hide the faces that use them and get no gradient.
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
        threads = self.threads or torch.get_num_threads()
        image: Tensor = _Draw.apply(
            positions, attributes, faces, (height, width), threads, self.area_floor
        )
        return image


class _Draw(torch.autograd.Function):
    """Coverage, interpolation and antialiasing; only the visible faces are kept for the gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        positions: Tensor,
        attributes: Tensor,
        faces: Tensor,
        size: tuple[int, int],
        threads: int,
        area_floor: float,
    ) -> Tensor:
        n, v, channels = attributes.shape
        mesh = _topology(faces.numpy().tobytes(), faces.numpy().dtype.str, v)
        vertices = _numpy(positions.double())
        colours = _numpy(attributes)
        chunks = _chunks(n, threads)
        keep = any(ctx.needs_input_grad[:2])
        ids = np.empty((n if keep else len(chunks), *size), np.int32)
        image = torch.zeros((n, *size, channels), dtype=attributes.dtype)
        out = image.numpy()

        def draw(chunk: int) -> None:
            part = chunks[chunk]
            kept = ids[part] if keep else ids[chunk : chunk + 1]
            kernels.draw(vertices[part], colours[part], *mesh, kept, out[part])

        _parallel(draw, len(chunks))
        if keep:
            ctx.save_for_backward(positions, attributes, torch.from_numpy(ids))
            ctx.mesh, ctx.chunks, ctx.area_floor = mesh, chunks, area_floor
        return image

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_image: Tensor) -> tuple[Tensor | None, ...]:
        positions, attributes, kept = ctx.saved_tensors
        vertices, colours, ids = _numpy(positions.double()), _numpy(attributes), kept.numpy()
        grad_out = _numpy(grad_image)
        grad_positions, grad_attributes = np.zeros(positions.shape), np.zeros(attributes.shape)

        def draw(chunk: int) -> None:
            part = ctx.chunks[chunk]
            kernels.draw_gradient(
                vertices[part], colours[part], *ctx.mesh, ids[part], ctx.area_floor,
                grad_out[part], grad_positions[part], grad_attributes[part],
            )  # fmt: skip

        _parallel(draw, len(ctx.chunks))
        return (
            torch.from_numpy(grad_positions).to(positions.dtype),
            torch.from_numpy(grad_attributes).to(attributes.dtype),
            None, None, None, None,
        )  # fmt: skip


def _check(positions: Tensor, attributes: Tensor, faces: Tensor, height: int, width: int) -> None:
    n, v = attributes.shape[:2]
    if attributes.ndim != 3 or positions.shape != (n, v, 4):
        raise ValueError(
            f"positions {tuple(positions.shape)} and attributes {tuple(attributes.shape)}: "
            "expected [n, v, 4] and [n, v, c]"
        )
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.is_floating_point():
        raise ValueError(f"faces {tuple(faces.shape)} {faces.dtype}: expected [f, 3] integers")
    if height < 1 or width < 1:
        raise ValueError(f"image of {height} x {width} pixels: give at least 1 x 1")
    for name, tensor in (("positions", positions), ("attributes", attributes), ("faces", faces)):
        if tensor.device.type != "cpu":
            raise ValueError(f"{name} on {tensor.device}: the CPU rasterizer takes CPU tensors")


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


@lru_cache(maxsize=16)
def _topology(data: bytes, dtype: str, vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """Faces as int64 and, for edge k (opposite corner k) of each, the vertex across or -1.

    An edge of one face or of more than two has no vertex across: it is always a silhouette.
    """
    faces = np.frombuffer(data, dtype).reshape(-1, 3).astype(np.int64)
    if faces.size and not 0 <= faces.min() <= faces.max() < vertices:
        raise ValueError(f"faces refer to vertices {faces.min()}..{faces.max()} of {vertices}")
    corners = faces.T.reshape(-1)  # corner k of face f at position k * len(faces) + f
    edges = np.sort(np.stack([np.roll(faces, -1, 1), np.roll(faces, -2, 1)], -1), -1)
    keys = (edges[..., 0] * vertices + edges[..., 1]).T.reshape(-1)
    order = np.argsort(keys, kind="stable")
    _, first, counts = np.unique(keys[order], return_index=True, return_counts=True)
    shared = first[counts == 2]
    one, two = order[shared], order[shared + 1]
    across = np.full(len(keys), -1, np.int64)
    across[one], across[two] = corners[two], corners[one]
    return faces, np.ascontiguousarray(across.reshape(3, -1).T)


def _chunks(count: int, threads: int) -> list[slice]:
    """Cut ``count`` images into at most ``threads`` runs of almost equal length."""
    bounds = np.linspace(0, count, min(threads, count) + 1).round().astype(int)
    return [slice(start, stop) for start, stop in zip(bounds[:-1], bounds[1:], strict=True)]


_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def _parallel(work: Callable[[int], None], count: int) -> None:
    """Run ``work(0) .. work(count - 1)``, the last one in the calling thread.

    Pools are keyed by the process: a forked child must not wait for its parent's threads.
    """
    if count == 0:
        return
    futures = []
    if count > 1:
        key = (os.getpid(), count - 1)
        pool = _pools.get(key) or _pools.setdefault(key, ThreadPoolExecutor(count - 1))
        futures = [pool.submit(work, i) for i in range(count - 1)]
    work(count - 1)
    for future in futures:
        future.result()
