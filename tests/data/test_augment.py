"""Augmentation: image, keypoints and K move as one, once per clip."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.video import dot_centre, dot_frame
from s2hand.data.augment import Augment, EqualConfidence
from s2hand.geometry.camera import project
from s2hand.geometry.rotation import axis_angle_to_matrix
from s2hand.types import Camera, HandBatch, Labels


def batch_of(b: int = 2, t: int = 3, px: int = 224, seed: int = 0) -> HandBatch:
    """Hands in front of skewed cameras, with exact keypoints; images of noise."""
    generator = torch.Generator().manual_seed(seed)
    joints = 0.06 * torch.randn(b, t, 21, 3, generator=generator) + torch.tensor([0, 0, 0.6])
    K = torch.tensor([[500.0, 3.0, 90.0], [-2.0, 480.0, 130.0], [0, 0, 1]]).repeat(b, t, 1, 1)
    K[..., 0, 2] += 5 * torch.arange(t)
    return HandBatch(
        image=torch.rand(b, t, 3, px, px, generator=generator),
        keypoints=project(joints, K),
        confidence=torch.ones(b, t, 21),
        camera=Camera(K),
        index=torch.zeros(b, t, dtype=torch.long),
        labels=Labels(joints, torch.full((b, t, 778, 3), torch.nan)),
    )


ALL = {"rotation_deg": 180, "scale": (0.8, 1.2), "centre_px": 10, "colour": 0.3}


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    rotation=st.floats(0, 180),
    scale=st.tuples(st.floats(0.5, 1), st.floats(1, 2)),
    shift=st.floats(0, 40),
    about=st.sampled_from(["centre", "principal"]),
)
def test_labels_project_onto_the_moved_keypoints(
    seed: int, rotation: float, scale: tuple[float, float], shift: float, about: str
) -> None:
    batch = batch_of(px=8)
    torch.manual_seed(seed)
    moved = Augment(rotation, scale, shift, about=about)(batch)  # type: ignore[arg-type]
    assert moved.labels is batch.labels
    projected = project(batch.labels.joints, moved.camera.intrinsics)  # type: ignore[union-attr]
    torch.testing.assert_close(projected, moved.keypoints, atol=1e-3, rtol=0)


@pytest.mark.parametrize("px", [224, 128, 57])
def test_a_painted_dot_follows_its_keypoint(px: int) -> None:
    b, t = 6, 2
    crop_dots = torch.rand(b, t, 2) * 60 + 80
    image_dots = (crop_dots + 0.5) * px / 224 - 0.5
    frames = [dot_frame(px, px, tuple(dot)) for dot in image_dots.flatten(0, 1).tolist()]
    image = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255
    batch = replace(batch_of(b, t, 8), image=image.unflatten(0, (b, t)))
    keypoints = batch.keypoints.clone()
    keypoints[:, :, 0] = crop_dots
    moved = Augment(180, (0.9, 1.3), 8)(replace(batch, keypoints=keypoints))
    followed = ((moved.keypoints[:, :, 0] + 0.5) * px / 224 - 0.5).flatten(0, 1)
    for frame, expected in zip(moved.image.flatten(0, 1), followed, strict=True):
        seen = dot_centre(frame.permute(1, 2, 0).numpy())
        np.testing.assert_allclose(seen, expected, atol=0.15)


def test_about_the_principal_point_is_a_rotation_of_the_camera() -> None:
    # An ordinary camera: square pixels without skew, the same over a clip.
    batch = batch_of(4, 1)
    K = torch.tensor([[500.0, 0, 90], [0, 500, 130], [0, 0, 1]]).repeat(4, 1, 1, 1)
    joints = batch.labels.joints  # type: ignore[union-attr]
    batch = replace(batch, camera=Camera(K), keypoints=project(joints, K))
    moved = Augment(180, about="principal")(batch)
    turn = torch.linalg.inv(K) @ moved.camera.intrinsics
    angle = torch.atan2(turn[:, 0, 1, 0], turn[:, 0, 0, 0])
    assert angle.unique().numel() == 4
    about_z = axis_angle_to_matrix(torch.stack([0 * angle, 0 * angle, angle], -1))
    turned = joints @ about_z[:, None].transpose(-1, -2)
    torch.testing.assert_close(project(turned, K), moved.keypoints, atol=1e-3, rtol=0)


def test_one_transform_per_clip() -> None:
    batch = batch_of(b=3, t=4)
    moved = Augment(**ALL)(batch)
    affine = moved.camera.intrinsics @ torch.linalg.inv(batch.camera.intrinsics)
    torch.testing.assert_close(affine, affine[:, :1].expand_as(affine), atol=1e-3, rtol=0)
    assert not torch.allclose(affine[0, 0], affine[1, 0], atol=0.1)
    same = replace(batch, image=batch.image[:, :1].expand(-1, 4, -1, -1, -1))
    image = Augment(**ALL)(same).image
    torch.testing.assert_close(image, image[:, :1].expand_as(image))


def test_undetected_keypoints_are_left_alone() -> None:
    batch = batch_of()
    confidence = batch.confidence.clone()
    confidence[0, 1, 4] = 0
    keypoints = batch.keypoints.clone()
    keypoints[0, 1, 4] = 0
    moved = Augment(**ALL)(replace(batch, keypoints=keypoints, confidence=confidence))
    assert moved.keypoints[0, 1, 4].tolist() == [0, 0]
    assert not torch.allclose(moved.keypoints[0, 1, 5], keypoints[0, 1, 5])


def test_a_seed_repeats_it() -> None:
    batch, augment = batch_of(), Augment(**ALL)
    torch.manual_seed(3)
    first = augment(batch)
    second = augment(batch)
    torch.manual_seed(3)
    third = augment(batch)
    torch.testing.assert_close(first.image, third.image)
    torch.testing.assert_close(first.camera.intrinsics, third.camera.intrinsics)
    assert not torch.allclose(first.image, second.image)


def test_ranges_are_respected() -> None:
    batch = batch_of(b=400, t=1, px=2)
    moved = Augment(30, (0.8, 0.9), 5)(batch)
    affine = (moved.camera.intrinsics @ torch.linalg.inv(batch.camera.intrinsics))[:, 0]
    scale = torch.linalg.det(affine[:, :2, :2]).sqrt()
    angle = torch.atan2(affine[:, 1, 0], affine[:, 0, 0]) * 180 / math.pi
    centre = torch.tensor([111.5, 111.5, 1.0])
    shift = (affine @ centre)[:, :2] - centre[:2]
    for values, low, high in ((scale, 0.8, 0.9), (angle, -30, 30), (shift, -5, 5)):
        margin = 0.05 * (high - low)
        assert low - 1e-3 <= values.min() < low + margin
        assert high - margin < values.max() <= high + 1e-3


def test_zero_strength_changes_nothing() -> None:
    batch = batch_of()
    same = Augment(rotation_deg=0)(batch)
    torch.testing.assert_close(same.image, batch.image, atol=1e-4, rtol=0)
    torch.testing.assert_close(same.keypoints, batch.keypoints)
    assert Augment(**ALL).eval()(batch) is batch


def test_colour_keeps_black_and_range() -> None:
    batch = batch_of(b=16, t=1, px=32)
    image = batch.image.clone()
    image[..., :16, :] = 0
    moved = Augment(rotation_deg=0, colour=0.5)(replace(batch, image=image)).image
    assert moved[..., :15, :].max() < 1e-6
    assert moved.min() >= 0
    assert moved.max() <= 1
    ratio = moved[:, :, :, 20:].mean((1, 2, 3, 4)) / image[:, :, :, 20:].mean((1, 2, 3, 4))
    assert ratio.std() > 0.1


def test_cached_features_are_refused() -> None:
    batch = replace(batch_of(), features=(torch.zeros(2, 3, 4, 8, 8),))
    with pytest.raises(ValueError, match="cached features"):
        Augment()(batch)


@pytest.mark.parametrize(
    "options",
    [
        {"scale": (1.2, 0.8)},
        {"scale": (0, 1)},
        {"colour": 1.0},
        {"centre_px": -1},
        {"rotation_deg": -5},
        {"about": "wrist"},
    ],
)
def test_bad_options_are_refused(options: dict) -> None:
    with pytest.raises(ValueError, match=str(next(iter(options)))):
        Augment(**options)


def test_equal_confidence_applies_in_training_only() -> None:
    batch = batch_of(px=8)
    batch.confidence[0, 0, :3] = torch.tensor([0.0, 0.2, 0.9])
    equal = EqualConfidence()
    assert equal(batch).confidence[0, 0, :4].tolist() == [0, 1, 1, 1]
    assert equal(batch).image is batch.image
    assert equal.eval()(batch) is batch


def test_colour_changes_the_saturation_as_well() -> None:
    batch = batch_of(b=16, t=1, px=32)
    image = torch.full_like(batch.image, 0.5)
    image[..., 0, :, :], image[..., 2, :, :] = 0.6, 0.4
    moved = Augment(rotation_deg=0, colour=0.5)(replace(batch, image=image)).image[..., 8, 8]
    ratio = (moved[..., 0] - moved[..., 2]) / moved.mean(-1)
    assert ratio.std() > 0.05, "exposure alone leaves 0.4"
