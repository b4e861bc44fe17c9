"""A hand's skeleton through time, the input of the animation writers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation


@dataclass(frozen=True)
class Motion:
    """A hand that moves like :class:`~s2hand.hand.mano.ManoHead`, x' = s R x + T.

    For a left hand joints, quaternions and translations are mirrored.
    """

    joints: Float[np.ndarray, "16 3"]
    """Joints of the shaped rest hand (``ManoHead.rest``), MANO order, metres, model axes."""
    parents: Sequence[int]
    """Parent of each joint, -1 at the root, which is first; parents precede their children."""
    times: Float[np.ndarray, " n"]
    """Times of the keys, seconds from 0, increasing."""
    quaternions: Float[np.ndarray, "n 16 4"]
    """(w, x, y, z) as in ``Hand.quaternions``: the root in the camera, half turn included, then
    each joint in its parent."""
    translations: Float[np.ndarray, "n 3"]
    """T, metres, OpenCV camera."""
    scale: float
    """s, one for all frames."""

    @cached_property
    def rest(self) -> Float[np.ndarray, "16 3"]:
        """The joints at rest, scaled."""
        return self.scale * self.joints.astype(np.float64)

    @cached_property
    def rotations(self) -> Float[np.ndarray, "n 16 4"]:
        """Unit quaternions, each with the sign nearest to the previous one (q and -q are equal)."""
        unit = self.quaternions.astype(np.float64)
        unit /= np.linalg.norm(unit, axis=-1, keepdims=True)
        flipped = (unit[1:] * unit[:-1]).sum(-1, keepdims=True) < 0
        unit[1:] *= np.cumprod(np.where(flipped, -1.0, 1.0), axis=0)
        return unit

    @cached_property
    def wrists(self) -> Float[np.ndarray, "n 3"]:
        """Positions of the root, metres, OpenCV camera."""
        root = Rotation.from_quat(np.roll(self.rotations[:, 0], -1, -1))
        return root.apply(self.rest[0]) + self.translations

    def check(self, path: str | Path) -> None:
        """Refuse an invalid motion.

        Raises:
            ValueError: naming the file and the array that is not finite, has a wrong length or does
                not increase.
        """
        n, times = len(self.times), self.times
        if self.quaternions.shape != (n, 16, 4) or self.translations.shape != (n, 3) or n == 0:
            raise ValueError(
                f"cannot write {path}: {n} times, quaternions {self.quaternions.shape}, "
                f"translations {self.translations.shape}; give n, [n, 16, 4] and [n, 3], n at "
                "least 1"
            )
        numbers = (self.quaternions, self.translations, self.joints)
        if not all(np.isfinite(part).all() for part in numbers):
            raise ValueError(f"cannot write {path}: a rotation or a position is not finite")
        if not self.quaternions.any(-1).all():
            raise ValueError(f"cannot write {path}: a quaternion of zeros is not a rotation")
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"cannot write {path}: scale={self.scale}, must be above 0")
        if not (times[0] >= 0 and (np.diff(times) > 0).all() and np.isfinite(times[-1])):
            raise ValueError(f"cannot write {path}: times must increase from 0, in seconds")
