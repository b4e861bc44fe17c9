from __future__ import annotations

import torch

from s2hand.model.keypoint_net import HourglassEstimator, LightEstimator, soft_argmax


def test_soft_argmax_of_a_peak_is_the_centre_of_its_cell() -> None:
    maps = torch.zeros(1, 21, 16, 32)
    maps[..., 3, 10] = 60.0
    estimate = soft_argmax(maps)
    expected = torch.tensor([10.5 / 32, 3.5 / 16]).expand(1, 21, 2)
    torch.testing.assert_close(estimate.joints, expected)
    torch.testing.assert_close(estimate.peak, torch.ones(1, 21))


def test_soft_argmax_of_a_flat_map_is_the_middle_and_unsure() -> None:
    estimate = soft_argmax(torch.zeros(2, 21, 8, 8))
    torch.testing.assert_close(estimate.joints, torch.full((2, 21, 2), 0.5))
    torch.testing.assert_close(estimate.peak, torch.full((2, 21), 1 / 64))


def test_soft_argmax_gradient() -> None:
    maps = torch.randn(1, 21, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m: soft_argmax(m).joints, maps)


def test_hourglass_gives_one_estimate_per_stack_and_trains() -> None:
    net = HourglassEstimator(stacks=2, channels=16, map_px=16)
    estimates = net(torch.rand(2, 3, 50, 50), {})
    assert len(estimates) == 2
    assert estimates[0].joints.shape == (2, 21, 2)
    (estimates[0].joints.sum() + estimates[1].joints.sum()).backward()
    assert all(p.grad is not None for p in net.parameters())


def test_light_estimator_sums_the_pyramid_at_its_finest_map() -> None:
    net = LightEstimator({8: 4, 16: 6}, width=8)
    maps = {8: torch.rand(2, 4, 16, 16), 16: torch.rand(2, 6, 8, 8, requires_grad=True)}
    (estimate,) = net(torch.rand(2, 3, 8, 8), maps)
    assert estimate.joints.shape == (2, 21, 2)
    estimate.joints.square().sum().backward()
    assert maps[16].grad is not None
    assert maps[16].grad.abs().sum() > 0
