from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from s2hand.fitting.refinement import Refinement, refine
from s2hand.geometry.camera import project
from s2hand.hand.mano import ManoHead
from s2hand.loss.shape import ShapePrior
from s2hand.model.encoder import Encoder
from s2hand.model.networks import CompactNetwork
from s2hand.model.reconstructor import Reconstructor
from s2hand.render.scene import HandRenderer
from s2hand.training.module import mean_hand
from s2hand.training.objective import Objective, Term
from s2hand.types import Camera, HandBatch

DORSAL = (69.282, 69.282, 69.282)


def make(camera: str = "crop", seed: int = 0) -> Reconstructor:
    torch.manual_seed(seed)
    encoder = partial(Encoder, "mobilenetv3_small_050", frozen_stride=16, input_px=64)
    network = CompactNetwork(encoder=encoder)
    with torch.no_grad():  # far from the initial values, so that mistakes show
        for head in (
            network.geometry.pose,
            network.geometry.rotation,
            network.geometry.translation,
        ):
            head[-1].weight.normal_(std=0.02)
    return Reconstructor(network, ManoHead(), HandRenderer(32), camera, DORSAL).eval()  # type: ignore[arg-type]


def batch_of(b: int, t: int, intrinsics: torch.Tensor | None = None) -> HandBatch:
    generator = torch.Generator().manual_seed(b * 100 + t)
    k = (
        torch.tensor([[500.0, 0, 111.5], [0, 500.0, 111.5], [0, 0, 1]])
        if intrinsics is None
        else intrinsics
    )
    return HandBatch(
        image=torch.rand(b, t, 3, 64, 64, generator=generator),
        keypoints=torch.rand(b, t, 21, 2, generator=generator) * 224,
        confidence=torch.ones(b, t, 21),
        camera=Camera(k.expand(b, t, 3, 3)),
        index=torch.arange(b * t).view(b, t),
    )


def test_a_clip_is_its_frames_one_by_one() -> None:
    model, clip = make(), batch_of(2, 3)
    together = model(clip)
    for b in range(2):
        for t in range(3):
            alone = model(clip[b : b + 1, t : t + 1])
            torch.testing.assert_close(
                alone.hand.vertices[0, 0], together.hand.vertices[b, t], atol=1e-5, rtol=0
            )
            assert alone.render is not None
            assert together.render is not None
            torch.testing.assert_close(
                alone.render.image[0, 0], together.render.image[b, t], atol=1e-3, rtol=0
            )


def test_a_left_hand_has_the_fingertips_that_the_convention_gives_it() -> None:
    model = make()
    batch = replace(batch_of(2, 1), convention="manopth", left=torch.tensor([[False], [True]]))
    refined = refine(
        model, Objective({"shape": Term(ShapePrior(), 1.0)}), batch, Refinement(steps=1)
    )
    for prediction in (model(batch), mean_hand(model, batch), refined):
        joints, vertices = prediction.hand.joints[:, 0], prediction.hand.vertices[:, 0]
        torch.testing.assert_close(joints[0, 12], vertices[0, 444])
        torch.testing.assert_close(joints[1, 12], vertices[1, 445])
        torch.testing.assert_close(joints[:, [4, 8, 16, 20]], vertices[:, [745, 317, 556, 673]])
    own = model(replace(batch, convention=None)).hand
    torch.testing.assert_close(
        own.joints, model(replace(batch, convention=None, left=None)).hand.joints
    )


def test_zero_code_shows_the_back_of_an_upright_hand() -> None:
    model = make()
    for head in model.network.geometry.children():
        torch.nn.init.zeros_(head[-1].weight)
    hand, joints = (
        model(batch_of(1, 1), render=False).hand,
        model(batch_of(1, 1), render=False).joints_2d[0, 0],
    )
    wrist, index, middle_tip, little = joints[0], joints[5], joints[12], joints[17]
    assert middle_tip[1] < index[1] < wrist[1], "fingers up"
    assert index[0] < little[0], "a right hand's back has the index on the left"
    assert 60 < (joints.amax(0) - joints.amin(0)).max() < 200, "it fills a good part of the crop"
    assert hand.joints[..., 2].min() > 0.3


def test_both_cameras_agree_at_the_reference() -> None:
    crop, paper = make("crop"), make("paper")
    batch = batch_of(2, 1)
    torch.testing.assert_close(
        crop(batch, render=False).hand.joints,
        paper(batch, render=False).hand.joints,
        atol=1e-5,
        rtol=1e-4,
    )


@pytest.mark.parametrize("focal", [400.0, 900.0])
@pytest.mark.parametrize("shift", [(0.0, 0.0), (150.0, -120.0)])
def test_crop_camera_shows_one_crop_the_same_wherever_it_was_cut(
    focal: float, shift: tuple[float, float]
) -> None:
    """Same pixels in, same pixels out, though the hand itself lies elsewhere."""
    model = make("crop")
    reference = batch_of(1, 1)
    k = torch.tensor([[focal, 0, 111.5 + shift[0]], [0, focal, 111.5 + shift[1]], [0, 0, 1]])
    moved = replace(reference, camera=Camera(k.expand(1, 1, 3, 3)))
    a = model(reference, render=False)
    b = model(moved, render=False)
    # Perspective differs with the focal length and off the axis; the picture as a whole does not.
    assert (a.joints_2d - b.joints_2d).norm(dim=-1).mean() < 12
    assert (a.joints_2d.mean(2) - b.joints_2d.mean(2)).norm() < 8
    torch.testing.assert_close(project(b.hand.joints, k), b.joints_2d)


def test_labels_do_not_reach_the_network() -> None:
    model, batch = make(), batch_of(1, 1)
    seen: list[HandBatch] = []
    model.network.register_forward_pre_hook(lambda module, args: seen.append(args))
    model(batch, render=False)
    assert all(isinstance(x, torch.Tensor) or x is None for args in seen for x in args)


def test_unknown_camera_is_named() -> None:
    with pytest.raises(ValueError, match="camera='weak'"):
        make("weak")
