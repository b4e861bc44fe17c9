"""A hand's skeleton through time, as the writers of animations take it."""

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
    """A hand that moves as :class:`~s2hand.hand.mano.ManoHead` says, x' = s R x + T.

    A left hand is what is mirrored: joints, quaternions and translations.
    """

    joints: Float[np.ndarray, "16 3"]
    """Of the shaped rest hand (``ManoHead.rest``), MANO order, metres, in the model's axes."""
    parents: Sequence[int]
    """Of each joint, -1 at the root, which is the first; a parent comes before its children."""
    times: Float[np.ndarray, " n"]
    """Of the keys, seconds from 0 on, increasing."""
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
    def turns(self) -> Float[np.ndarray, "n 16 4"]:
        """Unit quaternions, each in the sign (q and -q are one rotation) nearest the one before."""
        unit = self.quaternions.astype(np.float64)
        unit /= np.linalg.norm(unit, axis=-1, keepdims=True)
        turned = (unit[1:] * unit[:-1]).sum(-1, keepdims=True) < 0
        unit[1:] *= np.cumprod(np.where(turned, -1.0, 1.0), axis=0)
        return unit

    @cached_property
    def wrists(self) -> Float[np.ndarray, "n 3"]:
        """The way of the root, metres, OpenCV camera."""
        root = Rotation.from_quat(np.roll(self.turns[:, 0], -1, -1))
        return root.apply(self.rest[0]) + self.translations

    def check(self, path: str | Path) -> None:
        """Refuse what is no motion.

        Raises:
            ValueError: naming the file, and what is not finite, does not fit in number, or does
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
            raise ValueError(f"cannot write {path}: a rotation or a place is not finite")
        if not self.quaternions.any(-1).all():
            raise ValueError(f"cannot write {path}: a quaternion of zeros is no rotation")
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"cannot write {path}: scale={self.scale}, must be above 0")
        if not (times[0] >= 0 and (np.diff(times) > 0).all() and np.isfinite(times[-1])):
            raise ValueError(f"cannot write {path}: times must increase from 0 on, in seconds")
