"""What a rasterizer is to the rest of the package."""

from __future__ import annotations

from typing import Protocol

from jaxtyping import Float, Int
from torch import Tensor


class Rasterizer(Protocol):
    """Draws triangle meshes that share their faces, differentiable in positions and attributes.

    Visibility follows OpenGL without back-face culling; a face is antialiased at its silhouettes
    (Laine et al. 2020), which is where the gradient of coverage comes from. Depth has to be one of
    the attributes: the z of positions decides visibility only and gets no gradient.
    """

    def __call__(
        self,
        positions: Float[Tensor, "n v 4"],
        attributes: Float[Tensor, "n v c"],
        faces: Int[Tensor, "f 3"],
        height: int,
        width: int,
    ) -> Float[Tensor, "n h w c"]:
        """Clip-space positions (y = -1 is row 0) and what to interpolate; zero where empty."""
        ...
