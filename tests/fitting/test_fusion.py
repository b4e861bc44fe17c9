"""One hand per track: fusing and smoothing of codes, and which frames there are."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s2hand.fitting.fusion import Span, frame_weights, fuse, smooth
from s2hand.geometry.camera import project
from s2hand.geometry.rotation import (
    axis_angle_to_matrix,
    axis_angle_to_quaternion,
    quaternion_multiply,
    quaternion_to_axis_angle,
    squared_angle,
)
from s2hand.hand.mano import ManoHead
from s2hand.types import HandCode

K = torch.tensor([[480.0, 0, 112], [0, 480, 112], [0, 0, 1]])


@pytest.fixture(scope="module")
def hand() -> ManoHead:
    return ManoHead("open")


def codes(n: int, seed: int = 0) -> HandCode:
    """Plausible codes [n, ...], all different."""
    generator = torch.Generator().manual_seed(seed)

    def random(*size: int) -> torch.Tensor:
        return torch.randn(n, *size, generator=generator)

    return HandCode(
        pose=0.3 * random(30), shape=random(10), scale=1 + 0.1 * random(1),
        rotation=random(3), translation=torch.tensor([0, 0, 0.6]) + 0.02 * random(3),
        texture=torch.rand(n, 778, 3, generator=generator), light=random(11),
    )  # fmt: skip


def span(numbers: list[int], total: int, step: int = 1) -> Span:
    found = np.array(numbers)
    return Span(range(0, total, step), found, np.arange(len(found)), found / 30, 30.0)


# Which frames


def test_gaps_and_runs() -> None:
    track = span([2, 3, 4, 7, 9], 12)
    assert track.gaps.tolist() == [[0, 2], [5, 7], [8, 9], [10, 12]]
    assert track.runs == [slice(0, 3), slice(3, 4), slice(4, 5)]
    assert track.missing == 7


def test_skipped_frames_are_no_gap() -> None:
    track = span([0, 3, 9], 11, step=3)
    assert track.gaps.tolist() == [[6, 9]]
    assert track.runs == [slice(0, 2), slice(2, 3)]
    assert span([0, 3, 6], 11, step=3).gaps.tolist() == [[9, 11]]


def test_a_hand_in_every_frame_and_in_one() -> None:
    assert span([0, 1, 2], 3).gaps.shape == (0, 2)
    assert span([0, 1, 2], 3).runs == [slice(0, 3)]
    assert span([1], 3).gaps.tolist() == [[0, 1], [2, 3]]
    assert span([0], 1).runs == [slice(0, 1)]


@given(st.sets(st.integers(0, 39), min_size=1), st.integers(1, 5))
def test_gaps_and_frames_with_a_hand_are_all_that_were_looked_at(
    chosen: set[int], step: int
) -> None:
    numbers = sorted({number // step * step for number in chosen})
    track = span(numbers, 40, step)
    missing = {n for first, end in track.gaps for n in range(first, end) if n % step == 0}
    assert missing | set(numbers) == set(range(0, 40, step))
    assert not missing & set(numbers)
    assert len(missing) == track.missing
    for run in track.runs:
        assert set(np.diff(track.numbers[run])) <= {step}


# One hand


def test_a_frame_counts_by_its_mean_confidence() -> None:
    confidence = torch.zeros(2, 21)
    confidence[0] = 1
    confidence[1, :7] = 0.6
    torch.testing.assert_close(frame_weights(confidence), torch.tensor([1.0, 0.2]))


def test_the_fused_hand_is_the_weighted_mean_whatever_the_batches() -> None:
    code, weights = codes(5), torch.tensor([1.0, 0.5, 0.25, 0.0, 1.0])
    split = [(code[:2], weights[:2]), (code[2:], weights[2:])]
    fused, whole = fuse(split), fuse([(code, weights)])
    expected = (weights[:, None] * code.shape).sum(0) / 2.75
    torch.testing.assert_close(fused.shape[3], expected)
    colour = torch.einsum("n,nvc->vc", weights, code.texture) / 2.75
    torch.testing.assert_close(fused.texture[0], colour)
    for name in ("shape", "scale", "texture"):
        assert (getattr(fused, name) == getattr(fused, name)[:1]).all()
    for name in ("pose", "rotation", "light"):
        torch.testing.assert_close(getattr(fused, name), getattr(code, name))
    torch.testing.assert_close(fused.translation, whole.translation)


def test_a_fused_scale_leaves_the_projection_where_it_was(hand: ManoHead) -> None:
    code = codes(4)
    code = HandCode(**{**vars(code), "shape": code.shape[:1].expand(4, 10)})
    fused = fuse([(code, torch.ones(4))])
    before, after = hand(code), hand(fused)
    assert (after.joints - before.joints).norm(dim=-1).max() > 0.01
    torch.testing.assert_close(
        project(after.joints, K.expand(4, 3, 3)), project(before.joints, K.expand(4, 3, 3)),
        atol=1e-2, rtol=1e-5,
    )  # fmt: skip


def test_what_is_kept_of_a_frame_is_small() -> None:
    fused = fuse((codes(20, seed), torch.ones(20)) for seed in range(10))
    stored = {
        id(getattr(fused, name).untyped_storage()): getattr(fused, name).untyped_storage().nbytes()
        for name in vars(fused)
    }
    constant = 4 * (778 * 3 + 10 + 1)
    assert sum(stored.values()) - constant <= 200 * 4 * (30 + 3 + 3 + 11)


def test_a_batch_is_forgotten_once_it_is_fused() -> None:
    textures: list[weakref.ref[np.ndarray]] = []

    def frames() -> Iterator[tuple[HandCode, torch.Tensor]]:
        for seed in range(5):
            assert not any(texture() is not None for texture in textures[:-1])
            texture = np.full((20, 778, 3), 0.5, np.float32)
            textures.append(weakref.ref(texture))
            yield replace(codes(20, seed), texture=torch.from_numpy(texture)), torch.ones(20)

    fuse(frames())
    assert len(textures) == 5


def test_nothing_to_fuse_is_an_error() -> None:
    with pytest.raises(ValueError, match="no frame of the track has a hand"):
        fuse([])
    with pytest.raises(ValueError, match="no frame of the track has a hand"):
        fuse([(codes(2), torch.zeros(2))])


# Smoothing


def moving(n: int, hand: ManoHead, speed: float = 0.2) -> HandCode:
    """One pose; a root that turns at constant speed about a fixed axis, through half turns, too."""
    code = codes(1).map(lambda x: x.expand(n, *x.shape[1:]))
    axis = torch.tensor([0.6, 0.0, 0.8])
    start = axis_angle_to_quaternion(torch.tensor([0.3, -0.2, 0.5])).expand(n, 4)
    turns = axis_angle_to_quaternion(speed * torch.arange(n)[:, None] * axis)
    rotation = quaternion_to_axis_angle(quaternion_multiply(turns, start))
    steps = torch.arange(n)[:, None] * torch.tensor([0.01, 0.0, 0.002])
    return HandCode(**{
        **vars(code), "rotation": rotation, "translation": code.translation + steps
    })  # fmt: skip


def rotations(code: HandCode) -> torch.Tensor:
    return axis_angle_to_matrix(code.rotation)


@given(sigma=st.floats(0.3, 4), seed=st.integers(0, 1000))
def test_a_still_hand_stays_as_it_is(hand: ManoHead, sigma: float, seed: int) -> None:
    code = codes(1, seed).map(lambda x: x.expand(9, *x.shape[1:]))
    weights = 0.1 + torch.rand(9, generator=torch.Generator().manual_seed(seed))
    smoothed = smooth(code, hand, weights, [slice(0, 9)], sigma)
    torch.testing.assert_close(smoothed.pose, code.pose, atol=1e-4, rtol=0)
    torch.testing.assert_close(rotations(smoothed), rotations(code), atol=1e-5, rtol=0)
    torch.testing.assert_close(smoothed.translation, code.translation)


@pytest.mark.parametrize("weak", [1.0, 0.05])
def test_a_motion_at_constant_speed_stays_as_it_is(hand: ManoHead, weak: float) -> None:
    code = moving(40, hand)
    assert code.rotation.norm(dim=-1).max() > 3, "the turn passes pi, where axis-angle jumps"
    weights = torch.full((40,), 0.7)
    weights[[3, 20, 21]] *= weak
    smoothed = smooth(code, hand, weights, [slice(0, 40)], 2.0)
    torch.testing.assert_close(rotations(smoothed), rotations(code), atol=1e-5, rtol=0)
    torch.testing.assert_close(smoothed.translation, code.translation)


@settings(max_examples=30)
@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=14), st.floats(0.3, 4))
def test_no_weights_move_a_motion_at_constant_speed(
    hand: ManoHead, weights: list[float], sigma: float
) -> None:
    n = len(weights)
    code = moving(n, hand)
    smoothed = smooth(code, hand, torch.tensor(weights), [slice(0, n)], sigma)
    torch.testing.assert_close(rotations(smoothed), rotations(code), atol=1e-5, rtol=0)
    torch.testing.assert_close(smoothed.translation, code.translation)


def test_smoothing_knows_no_double_cover(hand: ManoHead) -> None:
    code = moving(9, hand)
    length = code.rotation.norm(dim=-1, keepdim=True)
    other = code.rotation * (1 - 2 * math.pi / length)  # the same rotations, of the other sign
    flipped = torch.arange(9)[:, None] % 2 == 1
    turned = HandCode(**{**vars(code), "rotation": torch.where(flipped, other, code.rotation)})
    weights = torch.tensor([1, 0.05, 0.3, 1, 0.7, 0.05, 1, 0.2, 1])
    here, there = (smooth(c, hand, weights, [slice(0, 9)], 1.5) for c in (code, turned))
    torch.testing.assert_close(rotations(there), rotations(here), atol=1e-5, rtol=0)


def test_smoothing_turns_with_the_camera(hand: ManoHead) -> None:
    code, weights = codes(12), 0.2 + torch.rand(12, generator=torch.Generator().manual_seed(1))
    world = axis_angle_to_quaternion(torch.tensor([1.0, -2.0, 0.5]))
    turned = quaternion_multiply(world.expand(12, 4), axis_angle_to_quaternion(code.rotation))
    other = HandCode(**{**vars(code), "rotation": quaternion_to_axis_angle(turned)})
    here, there = (smooth(c, hand, weights, [slice(0, 12)], 1.5) for c in (code, other))
    expected = quaternion_multiply(world.expand(12, 4), axis_angle_to_quaternion(here.rotation))
    angles = squared_angle(axis_angle_to_quaternion(there.rotation), expected)
    assert angles.max().sqrt() < 1e-3
    torch.testing.assert_close(here.pose, there.pose)


def test_smoothing_takes_noise_away_and_trusts_no_weak_frame(hand: ManoHead) -> None:
    clean = moving(40, hand, speed=0.02)
    noise = codes(40)
    noisy = HandCode(**{
        **vars(clean),
        "rotation": clean.rotation + 0.1 * (noise.rotation - noise.rotation.mean(0)),
        "pose": clean.pose + 0.3 * noise.pose,
        "translation": clean.translation + noise.translation - noise.translation.mean(0),
    })  # fmt: skip
    smoothed = smooth(noisy, hand, torch.ones(40), [slice(0, 40)], 3.0)
    for name in ("rotation", "pose", "translation"):
        before, after, truth = (getattr(c, name)[9:-9] for c in (noisy, smoothed, clean))
        assert (after - truth).norm() < 0.5 * (before - truth).norm()
    weights = torch.ones(40)
    weights[20] = 1e-6
    astray = HandCode(**{**vars(clean), "rotation": clean.rotation.clone()})
    astray.rotation[20] += 1.0
    mended = smooth(astray, hand, weights, [slice(0, 40)], 3.0)
    torch.testing.assert_close(rotations(mended), rotations(clean), atol=1e-4, rtol=0)


def test_the_weights_of_neighbours_by_hand(hand: ManoHead) -> None:
    """One frame of nine is away; sigma 1 reaches three frames, and pairs end with the run."""
    code = codes(1).map(lambda x: x.expand(9, *x.shape[1:]))
    moved = torch.zeros(9, 3)
    moved[4, 0] = 1
    code = HandCode(**{**vars(code), "translation": moved})
    smoothed = smooth(code, hand, torch.ones(9), [slice(0, 9)], 1.0).translation[:, 0]
    g = [math.exp(-0.5 * k**2) for k in range(4)]
    total = [1, 1 + 2 * g[1], 1 + 2 * (g[1] + g[2]), 1 + 2 * (g[1] + g[2] + g[3])]
    half = [0, 0, g[2] / total[2], g[1] / total[3], 1 / total[3]]
    torch.testing.assert_close(smoothed, torch.tensor([*half, *half[3::-1]]))


def test_nothing_is_smoothed_across_a_gap(hand: ManoHead) -> None:
    code = codes(10)
    runs = [slice(0, 4), slice(4, 5), slice(5, 10)]
    smoothed = smooth(code, hand, torch.ones(10), runs, 2.0)
    for run in runs:
        alone = smooth(code[run], hand, torch.ones(run.stop - run.start),
                       [slice(0, run.stop - run.start)], 2.0)  # fmt: skip
        for name in ("rotation", "pose", "translation"):
            torch.testing.assert_close(getattr(smoothed, name)[run], getattr(alone, name))
    torch.testing.assert_close(rotations(smoothed)[4], rotations(code)[4], atol=1e-5, rtol=0)
    assert (smoothed.rotation[2] - code.rotation[2]).abs().max() > 0.01


def test_no_smoothing_says_what_the_network_said(hand: ManoHead) -> None:
    code = codes(3)
    assert smooth(code, hand, torch.ones(3), [slice(0, 3)], 0.0) is code


@pytest.mark.parametrize("sigma", [-1.0, float("nan"), float("inf")])
def test_smoothing_by_what_is_no_number_is_an_error(hand: ManoHead, sigma: float) -> None:
    with pytest.raises(ValueError, match=r"smooth_sigma=.*at least 0"):
        smooth(codes(2), hand, torch.ones(2), [slice(0, 2)], sigma)
