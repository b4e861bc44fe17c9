"""Motion metrics against the golden values and motions with a known second difference."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from s2hand.geometry.rotation import axis_angle_to_matrix
from s2hand.metric.motion import MotionErrors, SequenceConsistency, unbroken_triples
from s2hand.types import Hand, HandCode


def accelerating(metres_per_frame2: float, frames: int = 6) -> Tensor:
    """One sequence whose joints all have this second difference along x."""
    t = torch.arange(frames, dtype=torch.float64)
    joints = torch.rand(21, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    offset = torch.stack([metres_per_frame2 * t**2 / 2, 0 * t, 0 * t], -1)
    return (joints + offset[:, None])[None]


def test_golden(golden: Any) -> None:
    metric = MotionErrors()
    metric.update(golden.predicted_joints[None], golden.joints[None])
    result = metric.compute()
    error, jitter = result["acceleration_error_mm_frame2"], result["jitter_mm_frame2"]
    assert error.item() / 1000 == pytest.approx(0.083164621344, abs=1e-11)
    assert jitter.item() / 1000 == pytest.approx(0.178600205663, abs=1e-11)


def test_known_acceleration_in_both_units() -> None:
    metric = MotionErrors(fps=10, stride=2)
    metric.update(accelerating(0.005), accelerating(0.002))
    result = metric.compute()
    assert result["jitter_mm_frame2"].item() == pytest.approx(5)
    assert result["acceleration_error_mm_frame2"].item() == pytest.approx(3)
    assert result["jitter_mm_s2"].item() == pytest.approx(5 * 25)
    assert result["acceleration_error_mm_s2"].item() == pytest.approx(3 * 25)


def test_no_triple_crosses_a_cut() -> None:
    joints = accelerating(0.004, 8)
    joints[:, 4:] += 1.0  # another recording
    frames = torch.tensor([[3, 4, 5, 6, 20, 21, 22, 23]])
    whole, cut = MotionErrors(), MotionErrors()
    whole.update(joints)
    cut.update(joints, frames=frames)
    assert whole.compute()["jitter_mm_frame2"] > 100
    assert cut.compute()["jitter_mm_frame2"].item() == pytest.approx(4)
    assert unbroken_triples(frames).tolist() == [[True, True, False, False, True, True]]
    assert not unbroken_triples(frames, stride=2).any()


def test_a_sequence_without_a_triple_does_not_count() -> None:
    metric = MotionErrors()
    metric.update(accelerating(0.004, 2), accelerating(0.004, 2))
    assert metric.compute() == {}
    metric.update(accelerating(0.004, 5))
    assert metric.compute()["jitter_mm_frame2"].item() == pytest.approx(4)


def test_sequences_weigh_the_same_whatever_their_length() -> None:
    metric = MotionErrors()
    metric.update(accelerating(0.002, 3))
    metric.update(accelerating(0.006, 40))
    assert metric.compute()["jitter_mm_frame2"].item() == pytest.approx(4)


def test_root_alignment_hides_the_wrists_motion_only() -> None:
    metric = MotionErrors("root")
    metric.update(accelerating(0.005), accelerating(0.002))
    for value in metric.compute().values():
        assert value.item() == pytest.approx(0, abs=1e-9)
    moving_finger = accelerating(0.0)
    moving_finger[:, :, 8] += accelerating(0.021)[:, :, 8] - accelerating(0.0)[:, :, 8]
    metric.update(moving_finger, accelerating(0.0))
    assert metric.compute()["acceleration_error_mm_frame2"].item() == pytest.approx(0.5)


def test_procrustes_alignment_hides_any_similarity() -> None:
    true = accelerating(0.003)
    turns = axis_angle_to_matrix(torch.linspace(0, 2, 6, dtype=torch.float64)[:, None].expand(6, 3))
    metric = MotionErrors("pa")
    metric.update(1.3 * true @ turns[None], true)
    result = metric.compute()
    assert result["acceleration_error_mm_frame2"].item() == pytest.approx(0, abs=1e-4)
    assert result["jitter_mm_frame2"].item() == pytest.approx(3, abs=1e-4)


def test_motion_errors_name_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"'world'.*'camera', 'root' or 'pa'"):
        MotionErrors("world")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs the true joints"):
        MotionErrors("pa").update(accelerating(0.1))


def sequence(b: int, t: int) -> Hand:
    zeros = {"pose": 30, "shape": 10, "scale": 1, "rotation": 3, "translation": 3, "light": 11}
    code = HandCode(
        **{name: torch.zeros(b, t, size) for name, size in zeros.items()},
        texture=torch.zeros(b, t, 778, 3),
    )
    joints = torch.rand(1, 1, 21, 3, generator=torch.Generator().manual_seed(5)).expand(b, t, 21, 3)
    return Hand(code, torch.zeros(b, t, 778, 3), joints.clone(), torch.zeros(b, t, 16, 4))


def parts(hand: Hand) -> tuple[Tensor, Tensor, Tensor]:
    return hand.joints, hand.code.shape, hand.code.texture


def test_a_constant_hand_is_consistent() -> None:
    metric = SequenceConsistency()
    metric.update(*parts(sequence(2, 4)))
    assert all(value.item() == pytest.approx(0, abs=1e-9) for value in metric.compute().values())


def test_consistency_is_the_population_deviation_over_time_of_each_sequence() -> None:
    hand = sequence(2, 2)
    hand.code.shape[1] = 7.0  # another person: no deviation over time
    hand.code.shape[0, 1, 3] += 2.0  # deviation 1 in one of ten betas, one of two sequences
    hand.code.texture[0, 0] += 0.4  # deviation 0.2 everywhere
    hand.joints[:, 1] *= 1.5
    lengths = (hand.joints[0, 0, 1:] - hand.joints[0, 0, _parents()]).norm(dim=-1)
    metric = SequenceConsistency()
    metric.update(*parts(hand))
    result = metric.compute()
    assert result["shape_sd"].item() == pytest.approx(0.05)
    assert result["texture_sd"].item() == pytest.approx(0.1)
    assert result["bone_sd_mm"].item() == pytest.approx(250 * lengths.mean().item(), rel=1e-6)


def _parents() -> list[int]:
    return [0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19]


def test_a_single_frame_has_no_consistency() -> None:
    metric = SequenceConsistency()
    with pytest.raises(ValueError, match="2 or more"):
        metric.update(*parts(sequence(1, 1)))
