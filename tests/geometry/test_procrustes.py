"""Alignments: optimal, invariant to what they forgive, and honest about mirrors."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes
from torch import Tensor

from s2hand.geometry.procrustes import (
    Reflection,
    procrustes_align,
    root_align,
    scale_translation_align,
    warn_mirrored,
)
from s2hand.geometry.rotation import axis_angle_to_matrix

MIRROR = torch.tensor([-1.0, 1, 1], dtype=torch.float64)


def cloud(seed: int, points: int = 21) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(points, 3, generator=generator, dtype=torch.float64)


@given(
    seed=st.integers(0, 1000),
    rotvec=st.tuples(*[st.floats(-3, 3)] * 3),
    scale=st.floats(0.1, 20),
    shift=st.tuples(*[st.floats(-5, 5)] * 3),
    reflection=st.sampled_from(["official", "proper"]),
)
def test_a_similarity_is_undone(
    seed: int, rotvec: tuple, scale: float, shift: tuple, reflection: Reflection
) -> None:
    target = cloud(seed)
    moved = scale * target @ axis_angle_to_matrix(torch.tensor(rotvec).double()).T
    moved = moved + torch.tensor(shift).double()
    aligned = procrustes_align(moved, target, reflection)
    torch.testing.assert_close(aligned.points, target, atol=1e-6, rtol=0)
    assert not aligned.mirrored


@given(seed=st.integers(0, 1000))
def test_official_alignment_is_the_scripts(seed: int) -> None:
    """align_w_scale, written with scipy as the official scripts are."""
    target, prediction = cloud(seed), cloud(seed + 5000)
    a, b = (x - x.mean(0) for x in (target, prediction))
    norms = [x.norm() + 1e-8 for x in (a, b)]
    rotation, scale = orthogonal_procrustes((a / norms[0]).numpy(), (b / norms[1]).numpy())
    expected = (b / norms[1]) @ torch.from_numpy(rotation).T * scale * norms[0] + target.mean(0)
    torch.testing.assert_close(procrustes_align(prediction, target).points, expected)


@given(
    seed=st.integers(0, 200),
    rotvec=st.tuples(*[st.floats(-0.5, 0.5)] * 3),
    grow=st.floats(0.8, 1.2),
)
def test_no_other_similarity_is_nearer(seed: int, rotvec: tuple, grow: float) -> None:
    target, prediction = cloud(seed), cloud(seed) + 0.5 * cloud(seed + 5000)
    best = procrustes_align(prediction, target, "proper").points
    centre = best.mean(0)
    turn = axis_angle_to_matrix(torch.tensor(rotvec).double())
    other = grow * (best - centre) @ turn.T + centre
    assert (best - target).square().sum() <= (other - target).square().sum() + 1e-9


def test_a_mirrored_hand_scores_zero_officially_and_is_reported() -> None:
    target = torch.stack([cloud(0), cloud(1)])
    prediction = torch.stack([cloud(0) * MIRROR, cloud(1)])
    official, proper = (
        procrustes_align(prediction, target, reflection) for reflection in ("official", "proper")
    )
    assert (official.points - target).norm(dim=-1).max() < 1e-6
    assert official.mirrored.tolist() == [True, False]
    assert (proper.points[0] - target[0]).norm(dim=-1).mean() > 0.01
    torch.testing.assert_close(proper.points[1], official.points[1])


def test_a_flat_cloud_cannot_be_mirrored() -> None:
    flat = cloud(3) * torch.tensor([1.0, 1, 0])
    for prediction in (flat, flat * MIRROR):
        aligned = procrustes_align(prediction, flat)
        assert not aligned.mirrored
        torch.testing.assert_close(aligned.points, flat, atol=1e-6, rtol=0)


@pytest.mark.parametrize("reflection", ["official", "proper"])
def test_a_constant_prediction_lands_on_the_centroid(reflection: Reflection) -> None:
    target = cloud(4) + 3.0
    for prediction in (torch.zeros(21, 3).double(), torch.ones(21, 3).double()):
        points = procrustes_align(prediction, target, reflection).points
        torch.testing.assert_close(points, target.mean(0).expand(21, 3))


def test_any_leading_dimensions() -> None:
    target = torch.stack([cloud(i) for i in range(6)]).reshape(2, 3, 21, 3)
    prediction = target.flip(1)
    aligned = procrustes_align(prediction, target)
    assert aligned.mirrored.shape == (2, 3)
    single = procrustes_align(prediction[1, 2], target[1, 2])
    torch.testing.assert_close(aligned.points[1, 2], single.points)


def test_scale_translation_takes_the_bones_length_and_the_roots_place() -> None:
    target, prediction = cloud(5), 3 * cloud(6) + 1
    aligned = scale_translation_align(prediction, target)
    torch.testing.assert_close(aligned[0], target[0])
    lengths = [(x[9] - x[0]).norm() for x in (aligned, target)]
    torch.testing.assert_close(*lengths)
    shape = [(x[5] - x[20]) / (x[9] - x[0]).norm() for x in (aligned, prediction)]
    torch.testing.assert_close(*shape)


def test_a_collapsed_prediction_lands_on_the_root() -> None:
    aligned = scale_translation_align(torch.zeros(21, 3).double(), cloud(7))
    torch.testing.assert_close(aligned, cloud(7)[0].expand(21, 3))


@given(root=st.integers(0, 20), seed=st.integers(0, 100))
def test_root_alignment_is_exact_at_the_root_and_moves_everything_alike(
    root: int, seed: int
) -> None:
    target, prediction = cloud(seed), cloud(seed + 500)
    aligned = root_align(prediction, target, root)
    assert torch.equal(aligned[root], target[root])
    shift = aligned - prediction
    torch.testing.assert_close(shift, shift[:1].expand(21, 3))


def test_an_unknown_reflection_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'yes': use 'official' or 'proper'"):
        procrustes_align(cloud(0), cloud(1), "yes")  # type: ignore[arg-type]


def test_the_warning_counts() -> None:
    with pytest.warns(UserWarning, match=r"mirrored 3 of 40 predictions.*reflection='proper'"):
        warn_mirrored(3, 40)
