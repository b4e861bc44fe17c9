"""The package's data types: frozen dataclasses of tensors, always ``[b, t, ...]``.

``b`` counts clips, ``t`` frames; an image is a clip with ``t = 1``. One convention holds inside the
package: OpenCV camera axes (x right, y down, z forward), metres, the common 21-joint order
(:mod:`s2hand.geometry.skeleton`), right hands. Pixel centres are at integers: the centre of the
top-left pixel is (0, 0).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from typing_extensions import Self


def _map(value: Any, fn: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return fn(value)
    if isinstance(value, TensorTree):
        return value.map(fn)
    if isinstance(value, tuple):
        return tuple(_map(item, fn) for item in value)
    return value


def _zip(values: Sequence[Any], fn: Callable[[list[Tensor]], Tensor]) -> Any:
    first = values[0]
    if isinstance(first, Tensor):
        return fn(list(values))
    if isinstance(first, TensorTree):
        return type(first).zip(values, fn)
    if isinstance(first, tuple):
        return tuple(_zip(items, fn) for items in zip(*values, strict=True))
    if any(value != first for value in values):
        raise ValueError(f"cannot join samples whose constants differ: {first!r} and {values!r}")
    return first


class TensorTree:
    """Mixin of a dataclass whose leaves are tensors: map, move, join and index all of them."""

    def map(self, fn: Callable[[Tensor], Tensor]) -> Self:
        """The same tree with ``fn`` applied to each tensor; other values are kept."""
        assert is_dataclass(self)
        return replace(self, **{f.name: _map(getattr(self, f.name), fn) for f in fields(self)})

    @classmethod
    def zip(cls, trees: Sequence[Any], fn: Callable[[list[Tensor]], Tensor]) -> Self:
        """One tree from many of the same shape, ``fn`` joining each leaf's list of tensors."""
        names = [f.name for f in fields(cls)]  # type: ignore[arg-type]
        return cls(**{n: _zip([getattr(tree, n) for tree in trees], fn) for n in names})

    @classmethod
    def stack(cls, trees: Sequence[Any]) -> Self:
        """Join trees along a new first dimension (samples into a batch)."""
        return cls.zip(trees, torch.stack)

    @classmethod
    def cat(cls, trees: Sequence[Any], dim: int = 0) -> Self:
        """Join trees along an existing dimension (frames into a window, batches into a set)."""
        return cls.zip(trees, lambda tensors: torch.cat(tensors, dim))

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move every tensor, with the arguments of :meth:`torch.Tensor.to`."""
        return self.map(lambda x: x.to(*args, **kwargs))

    def pin_memory(self) -> Self:
        """Page-lock every tensor; a ``DataLoader`` calls this."""
        return self.map(lambda x: x.pin_memory())

    def detach(self) -> Self:
        """Cut every tensor from the graph."""
        return self.map(lambda x: x.detach())

    def fold(self) -> Self:
        """Merge time into the batch: every ``[b, t, ...]`` becomes ``[b*t, ...]``."""
        return self.map(lambda x: x.flatten(0, 1))

    def unfold(self, b: int, t: int) -> Self:
        """Undo :meth:`fold`."""
        return self.map(lambda x: x.unflatten(0, (b, t)))

    def __getitem__(self, index: Any) -> Self:
        """Index the leading dimensions of every tensor."""
        return self.map(lambda x: x[index])


@dataclass(frozen=True)
class Camera(TensorTree):
    """Pinhole intrinsics of the crop that the network sees."""

    intrinsics: Float[Tensor, "b t 3 3"]
    """K in pixels of the crop; a general 3x3 (rotated crops put a rotation into it)."""
    crop_px: int = 224
    """Side of the square crop that K and the keypoints refer to. The image tensor may sample the
    same crop at another resolution; every 2D loss and error is in these pixels."""


@dataclass(frozen=True)
class Labels(TensorTree):
    """Ground truth for evaluation; only losses that declare ``needs_labels`` read it."""

    joints: Float[Tensor, "b t 21 3"]
    """Camera space, metres."""
    vertices: Float[Tensor, "b t 778 3"]
    """Camera space, metres; NaN where a dataset has no vertices."""
    visible: Bool[Tensor, "b t 21"] | None = None
    """Joints that the benchmark counts; None if it counts all."""


@dataclass(frozen=True)
class HandBatch(TensorTree):
    """The model's input: images with 2D detections, and labels only if evaluation requests them.

    >>> batch = HandBatch(
    ...     image=torch.zeros(1, 5, 3, 64, 64), keypoints=torch.zeros(1, 5, 21, 2),
    ...     confidence=torch.ones(1, 5, 21), camera=Camera(torch.eye(3).expand(1, 5, 3, 3)),
    ...     index=torch.arange(5)[None],
    ... )
    >>> batch[:, :2].image.shape  # its first two frames
    torch.Size([1, 2, 3, 64, 64])
    """

    image: Float[Tensor, "b t 3 h w"]
    """RGB in 0..1, the square crop at any resolution."""
    keypoints: Float[Tensor, "b t 21 2"]
    """Detected 2D keypoints, pixels of the crop; meaningless where the confidence is 0."""
    confidence: Float[Tensor, "b t 21"]
    """0..1; 0 = not detected."""
    camera: Camera
    index: Int[Tensor, "b t"]
    """Position of the frame in its dataset."""
    features: tuple[Tensor, ...] | None = None
    """Cached maps of the encoder's frozen stages, shallow to deep, each [b, t, c, h, w]."""
    labels: Labels | None = None
    left: Bool[Tensor, "b t"] | None = None
    """Frames of left hands, which are mirrored; None in a dataset without left hands."""
    convention: str | None = None
    """The dataset's joint convention by name (:data:`s2hand.geometry.skeleton.JOINT_CONVENTIONS`);
    None: that of the run's hand. Samples of different conventions cannot be joined."""

    def unlabelled(self) -> HandBatch:
        """The batch as self-supervised losses see it: without labels."""
        return replace(self, labels=None)


@dataclass(frozen=True)
class HandCode(TensorTree):
    """The encoder's output: geometry code x and texture code y (S2HAND, section 3.1)."""

    pose: Float[Tensor, "b t p"]
    """PCA coefficients of the finger joints, p = 30."""
    shape: Float[Tensor, "b t 10"]
    """MANO betas."""
    scale: Float[Tensor, "b t 1"]
    """Positive factor on the hand model's size."""
    rotation: Float[Tensor, "b t 3"]
    """Axis-angle, radians, in the camera frame, after the constant half turn about x."""
    translation: Float[Tensor, "b t 3"]
    """Metres, camera space."""
    texture: Float[Tensor, "b t 778 3"]
    """RGB albedo per vertex, 0..1."""
    light: Float[Tensor, "b t 11"]
    """Ambient intensity, directional intensity, ambient RGB, directional RGB, direction xyz."""


@dataclass(frozen=True)
class Hand(TensorTree):
    """A posed hand in camera space, with the code it was made from."""

    code: HandCode
    vertices: Float[Tensor, "b t 778 3"]
    """Metres, camera space."""
    joints: Float[Tensor, "b t 21 3"]
    """Metres, camera space, common order."""
    quaternions: Float[Tensor, "b t 16 4"]
    """Unit (w, x, y, z): root in the camera frame, then 15 local finger joints, MANO order."""


@dataclass(frozen=True)
class Render(TensorTree):
    """The rendered hand, row 0 at the top."""

    image: Float[Tensor, "b t 3 h w"]
    """RGB, black outside the hand."""
    silhouette: Float[Tensor, "b t h w"]
    """Soft coverage 0..1."""
    depth: Float[Tensor, "b t h w"]
    """Metres times coverage."""


@dataclass(frozen=True)
class Prediction(TensorTree):
    """The model's output."""

    hand: Hand
    joints_2d: Float[Tensor, "b t 21 2"]
    """Projected joints J^pro, pixels of the crop."""
    estimated_joints_2d: tuple[Float[Tensor, "b t 21 2"], ...] = ()
    """J^est of every stage of the 2D estimator, last = final; empty without an estimator."""
    render: Render | None = None
    """None if nothing needs pixels, which saves the rendering."""


class HandLayer(Protocol):
    """The interface of a hand model to the rest of the package."""

    faces: Int[Tensor, "1538 3"]
    """Vertex ids, counter-clockwise seen from outside."""
    angle_limits: Float[Tensor, "15 3 2"]
    """Lower and upper limit, radians, of each finger joint's (twist, spread, bend), MANO order."""

    def __call__(self, code: HandCode) -> Hand:
        """Pose, shape and place the hand; any leading dimensions."""
        ...

    def joint_angles(self, quaternions: Float[Tensor, "*n 16 4"]) -> Float[Tensor, "*n 15 3"]:
        """(twist, spread, bend) in radians of each finger joint in its own anatomical frame."""
        ...

    def native_joints(self, hand: Hand, convention: str | None) -> Float[Tensor, "*n 21 3"]:
        """The joints in the layer's convention of a hand that was posed in a named one."""
        ...
