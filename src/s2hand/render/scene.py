"""From a posed hand and a camera to an image, a silhouette and a depth map."""

from __future__ import annotations

import warnings
from functools import lru_cache

import torch
from jaxtyping import Int
from torch import Tensor, nn

from s2hand.geometry.camera import clip_positions, scale_intrinsics
from s2hand.geometry.mesh import vertex_normals
from s2hand.render.base import Rasterizer
from s2hand.render.cpu import CpuRasterizer
from s2hand.render.nvdiffrast import REMEDY, NvdiffrastRasterizer, unavailable
from s2hand.render.shading import shade
from s2hand.types import Camera, Hand, Render

BACKENDS = ("auto", "cpu", "nvdiffrast")


class HandRenderer(nn.Module):
    """Renders I^re, S^re and a depth map of a textured, lit hand (S2HAND section 3.2).

    ``resolution`` is the side of the square image in pixels. ``backend`` is ``cpu``,
    ``nvdiffrast`` or ``auto``: nvdiffrast for CUDA tensors if it works, else the CPU. The CPU
    backend also takes CUDA tensors and copies them. The module has no parameters or buffers.
    """

    def __init__(self, resolution: int = 224, backend: str = "auto") -> None:
        super().__init__()
        if backend not in BACKENDS:
            raise ValueError(f"backend={backend!r}: use one of {', '.join(BACKENDS)}")
        if resolution < 1:
            raise ValueError(f"resolution={resolution}: give the image's side in pixels")
        self.resolution = resolution
        self.backend = backend
        self._rasterizers: dict[str, Rasterizer] = {
            "cpu": CpuRasterizer(),
            "nvdiffrast": NvdiffrastRasterizer(),
        }

    def forward(
        self, hand: Hand, camera: Camera, faces: Int[Tensor, "f 3"], resolution: int | None = None
    ) -> Render:
        """Draw each frame; ``resolution`` replaces the renderer's for this call.

        Runs in float32 at least, also under autocast. All outputs are channels of one image (RGB,
        depth, 1), with one coverage test, interpolation and antialiasing.
        """
        side = self.resolution if resolution is None else resolution
        b, t = hand.vertices.shape[:2]
        kind = torch.promote_types(hand.vertices.dtype, torch.float32)
        with torch.autocast(hand.vertices.device.type, enabled=False):
            vertices, texture, light, intrinsics = (
                x.flatten(0, 1).to(kind)
                for x in (hand.vertices, hand.code.texture, hand.code.light, camera.intrinsics)
            )
            # Attributes of the vertices: RGB, depth and coverage.
            colours = shade(texture, vertex_normals(vertices, faces), light)
            attributes = torch.cat(
                [colours, vertices[..., 2:], torch.ones_like(vertices[..., 2:])], -1
            )
            # Positions in the clip space of the requested resolution.
            intrinsics = scale_intrinsics(intrinsics, camera.crop_px, side)
            positions = clip_positions(vertices, intrinsics, side, side)
            drawn = self._rasterize(positions, attributes, faces, side)
        image, depth, silhouette = drawn.movedim(-1, 1).unflatten(0, (b, t)).split([3, 1, 1], 2)
        return Render(image, silhouette.squeeze(2), depth.squeeze(2))

    def _rasterize(self, positions: Tensor, attributes: Tensor, faces: Tensor, side: int) -> Tensor:
        device = positions.device
        name = self._choose(device)
        draw = self._rasterizers[name]
        if name == "cpu":
            positions, attributes, faces = positions.cpu(), attributes.cpu(), faces.cpu()
        return draw(positions, attributes, faces, side, side).to(device)

    def _choose(self, device: torch.device) -> str:
        """The backend for tensors on a device; warns once if a GPU is unused."""
        if self.backend == "cpu" or (self.backend == "auto" and device.type != "cuda"):
            return "cpu"
        reason = unavailable()
        if self.backend == "auto" and reason:
            _warn_once(f"rendering on the CPU: {reason}; {REMEDY}")
            return "cpu"
        if device.type != "cuda":
            raise ValueError(f"backend='nvdiffrast' draws CUDA tensors, not tensors on {device}")
        if reason:
            raise RuntimeError(f"backend='nvdiffrast': {reason}; {REMEDY}")
        return "nvdiffrast"


@lru_cache
def _warn_once(message: str) -> None:
    warnings.warn(message, stacklevel=5)
