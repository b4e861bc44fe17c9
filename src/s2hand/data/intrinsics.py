"""The camera matrix K of whole frames: calibrated by the user, or from a field of view."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from s2hand.data.checks import check_intrinsics
from s2hand.geometry.camera import intrinsics_from_fov, resize_affine


def full_intrinsics(
    sizes: Int[np.ndarray, "n 2"],
    intrinsics: Sequence[Sequence[float]] | None,
    calibrated: Sequence[int] | None,
    horizontal_fov_deg: float,
    source: Path,
) -> Float[Tensor, "n 3 3"]:
    """K of each full upright frame, pixels.

    Args:
        sizes: (width, height) of the frames.
        intrinsics: K, or None to make it from the field of view, principal point in the middle.
        calibrated: (width, height) of the calibration, if it differs; K is scaled.
        horizontal_fov_deg: used without K.
        source: for messages.

    Raises:
        ValueError: if K is not a camera matrix, or does not fit frames of this size.
    """
    if intrinsics is None:
        return torch.stack(
            [intrinsics_from_fov(w, h, horizontal_fov_deg) for w, h in sizes.tolist()]
        )
    K = np.asarray(intrinsics, dtype=np.float64)
    if K.shape != (3, 3):
        raise ValueError(
            f"intrinsics of shape {K.shape}; give 3x3: [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]"
        )
    from_sizes = sizes if calibrated is None else np.broadcast_to(calibrated, sizes.shape)
    check_intrinsics(np.broadcast_to(K, (len(sizes), 3, 3)), from_sizes, source)
    resize = [resize_affine(fx, fy) for fx, fy in (sizes / from_sizes).tolist()]
    return torch.stack(resize) @ torch.from_numpy(K)
