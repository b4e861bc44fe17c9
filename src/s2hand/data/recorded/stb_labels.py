"""STB's cameras and label files; whose frame the labels are in, and where they have no wrist.

Numbers: Zhang et al. (2016), as public loaders of the dataset have them.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from scipy.io import loadmat, whosmat
from scipy.spatial.transform import Rotation

from s2hand.files.checksums import read_verified
from s2hand.geometry.skeleton import NUM_JOINTS

CameraName = Literal["BB_left", "BB_right", "SK_color"]
MAX_LABEL_BYTES = 2**22
"""A label file holds 0.75 MB of numbers."""
_PALM, _RING_BASE = 0, 13


@dataclass(frozen=True)
class StbCamera:
    """A camera's intrinsics, pixels, and the way of the labels into its frame."""

    fx: float
    fy: float
    cx: float
    cy: float
    labels: str
    """``<SEQUENCE>_<labels>.mat`` is in millimetres of this kind of frame."""
    rotation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Axis-angle."""
    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """X_camera = (X_label - shift) R, points as rows."""

    def intrinsics(self) -> Float[np.ndarray, "3 3"]:
        """K."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]])

    def from_labels(self, points_mm: Float[np.ndarray, "n p 3"]) -> Float[np.ndarray, "n p 3"]:
        """Metres in this camera's frame (OpenCV axes)."""
        R = Rotation.from_rotvec(self.rotation).as_matrix()
        return (points_mm - np.array(self.shift_mm)) @ R / 1000


_BB = (822.79041, 822.79041, 318.47345, 250.31296)
CAMERAS: dict[CameraName, StbCamera] = {
    "BB_left": StbCamera(*_BB, labels="BB"),
    "BB_right": StbCamera(*_BB, labels="BB", shift_mm=(120.054, 0.0, 0.0)),
    "SK_color": StbCamera(
        607.92271, 607.88192, 314.78337, 236.42484, "SK",
        rotation=(0.00531, -0.01196, 0.00301), shift_mm=(-24.0381, -0.4563, -1.2326),
    ),
}  # fmt: skip
"""The stereo pair, whose labels are in the left camera's frame, and the colour camera beside the
depth camera, in whose frame its labels are."""


def wrist_from_palm(joints: Float[np.ndarray, "n 21 3"]) -> Float[np.ndarray, "n 21 3"]:
    """Joints in the common order whose joint 0, the palm's centre, is replaced by a wrist.

    The palm's centre is taken for the middle between wrist and ring finger's base, so wrist =
    2 palm - base. Third party: the public code of Ge et al. (CVPR 2019), which scores under
    protocol ``stb_a`` with such a wrist as root.
    """
    joints = joints.copy()
    joints[:, _PALM] = 2 * joints[:, _PALM] - joints[:, _RING_BASE]
    return joints


def read_label_file(path: Path) -> Float[np.ndarray, "n 21 3"]:
    """``handPara`` [3, 21, n] of a label file as rows: mm, STB's joint order.

    ``scipy.io.loadmat`` runs nothing that a file names; name, type, shape and size are checked
    before the numbers are read.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: naming the file and what does not fit.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such label file; unpack labels/ beside images/")
    if (size := path.stat().st_size) > MAX_LABEL_BYTES:
        raise ValueError(f"{path}: {size} bytes, which is too large for a label file of STB")
    content: Any = io.BytesIO(read_verified(path))  # which scipy takes, whatever its types say
    try:
        listed = {name: (shape, kind) for name, shape, kind in whosmat(content)}
        shape, kind = listed.get("handPara", ((), "missing"))
        if kind not in ("double", "single") or len(shape) != 3 or shape[:2] != (3, NUM_JOINTS):
            raise ValueError(f"handPara is {kind} {shape}; expected double (3, 21, frames)")
        values = loadmat(content, variable_names=["handPara"])["handPara"]
        points = np.asarray(values, np.float64).transpose(2, 1, 0)
        if points.shape != (shape[2], NUM_JOINTS, 3):
            raise ValueError(f"handPara has shape {values.shape}, its header says {shape}")
    except Exception as error:  # a damaged file can raise anything; all of it is "unreadable"
        raise ValueError(f"cannot read {path}: {error}") from error
    if not np.isfinite(points).all():
        row = int(np.argmin(np.isfinite(points).all((1, 2))))
        raise ValueError(f"{path}: handPara of frame {row} is not finite")
    return points
