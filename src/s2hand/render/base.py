"""The interface of rasterizers."""

from __future__ import annotations

from typing import Protocol

from jaxtyping import Float, Int
from torch import Tensor


class Rasterizer(Protocol):
    """Draws triangle meshes that share their faces, differentiable in positions and attributes.

    Visibility follows OpenGL without back-face culling; a face is antialiased at its silhouettes
    (Laine et al. 2020), which gives the gradient of coverage. Depth has to be one of the
    attributes: the z of positions is used for visibility only and gets no gradient.
    """

    def __call__(
        self,
        positions: Float[Tensor, "n v 4"],
        attributes: Float[Tensor, "n v c"],
        faces: Int[Tensor, "f 3"],
        height: int,
        width: int,
    ) -> Float[Tensor, "n h w c"]:
        """Draw attributes at clip-space positions (y = -1 is row 0); zero where empty."""
        ...
