"""The CUDA rasterizer: nvdiffrast (Laine et al. 2020), imported on first use."""

from __future__ import annotations

import importlib
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

REMEDY = "install nvdiffrast for CUDA as docs/gpu.md describes, or choose render=cpu"


@lru_cache(maxsize=1)
def unavailable() -> str | None:
    """The reason why nvdiffrast cannot draw on this machine, or None."""
    if not torch.cuda.is_available():
        return "torch finds no CUDA device"
    try:
        importlib.import_module("nvdiffrast.torch").RasterizeCudaContext()
    except Exception as error:  # no package, no compiled extension, no compiler
        return f"nvdiffrast does not start ({type(error).__name__}: {error})"
    return None


class NvdiffrastRasterizer:
    """A :class:`~s2hand.render.base.Rasterizer` for CUDA tensors, float32."""

    def __init__(self) -> None:
        self._contexts: dict[torch.device, Any] = {}

    def __reduce__(self) -> tuple[type[NvdiffrastRasterizer], tuple[()]]:
        # Copies and pickles make their own contexts.
        return NvdiffrastRasterizer, ()

    def __call__(
        self,
        positions: Float[Tensor, "n v 4"],
        attributes: Float[Tensor, "n v c"],
        faces: Int[Tensor, "f 3"],
        height: int,
        width: int,
    ) -> Float[Tensor, "n h w c"]:
        """See :class:`~s2hand.render.base.Rasterizer`; attributes are drawn in float32."""
        import nvdiffrast.torch as dr

        device = positions.device
        if device not in self._contexts:
            self._contexts[device] = dr.RasterizeCudaContext(device=device)
        positions = positions.float().contiguous()
        attributes = attributes.float().contiguous()
        faces = faces.int().contiguous()
        visible, _ = dr.rasterize(
            self._contexts[device], positions, faces, resolution=[height, width], grad_db=False
        )
        image, _ = dr.interpolate(attributes, visible, faces)
        return dr.antialias(image, visible, positions, faces)
