"""What holds for every configured loss alike."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from s2hand.types import HandBatch, Prediction


def leaves(prediction: Prediction) -> list[torch.Tensor]:
    """All tensors of a prediction, in a fixed order."""
    found: list[torch.Tensor] = []
    prediction.map(lambda x: (found.append(x), x)[1])
    return found


def with_leaves(prediction: Prediction, tensors: list[torch.Tensor]) -> Prediction:
    """The prediction with its tensors replaced, in the order of :func:`leaves`."""
    queue = iter(tensors)
    return prediction.map(lambda _: next(queue))


def frames(term_loss, wanted: int) -> int:
    return max(wanted, term_loss.min_frames)


@pytest.mark.parametrize("t", [1, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_is_one_finite_number_for_images_and_clips(term, t, dtype, sample, loss):
    term_loss = loss(term, dtype)
    value = term_loss(*sample(t=frames(term_loss, t), dtype=dtype))
    assert value.shape == ()
    assert value.dtype == dtype
    assert torch.isfinite(value)
    assert value > 0


def test_gradient_is_that_of_finite_differences(term, sample, loss):
    term_loss = loss(term)
    prediction, batch = sample(t=frames(term_loss, 2))
    inputs = [x.clone().requires_grad_() for x in leaves(prediction)]

    def value(*tensors: torch.Tensor) -> torch.Tensor:
        return term_loss(with_leaves(prediction, list(tensors)), batch)

    assert torch.autograd.gradcheck(value, inputs, fast_mode=True)
    gradients = torch.autograd.grad(value(*inputs), inputs, allow_unused=True)
    assert any(g is not None and g.abs().sum() > 0 for g in gradients)


@pytest.mark.parametrize("hidden", ["all", "some"])
def test_undetected_keypoints_may_hold_anything(term, hidden, sample, loss):
    term_loss = loss(term)
    prediction, batch = sample(t=frames(term_loss, 1))
    lost = torch.ones_like(batch.confidence, dtype=torch.bool)
    if hidden == "some":
        lost[..., 3:] = False
    keypoints = batch.keypoints.masked_fill(lost[..., None], float("nan"))
    batch = replace(batch, keypoints=keypoints, confidence=batch.confidence.masked_fill(lost, 0))
    inputs = [x.clone().requires_grad_() for x in leaves(prediction)]
    value = term_loss(with_leaves(prediction, inputs), batch)
    value = value + 0 * inputs[0].sum()  # some terms are constant without detections
    assert torch.isfinite(value)
    for gradient in torch.autograd.grad(value, inputs, allow_unused=True):
        assert gradient is None or gradient.isfinite().all()


def test_gradient_is_finite_where_prediction_and_detection_agree(term, sample, loss):
    term_loss = loss(term)
    prediction, batch = sample(t=frames(term_loss, 1))
    still = prediction.map(lambda x: x[:, :1].expand_as(x))
    batch = replace(batch, keypoints=still.joints_2d)
    still = replace(still, estimated_joints_2d=(still.joints_2d,) * 2)
    if batch.labels is not None:
        batch = replace(batch, labels=replace(batch.labels, joints=still.hand.joints))
    inputs = [x.clone().requires_grad_() for x in leaves(still)]
    value = term_loss(with_leaves(still, inputs), batch)
    for gradient in torch.autograd.grad(value, inputs, allow_unused=True):
        assert gradient is None or gradient.isfinite().all()


def test_frames_of_a_clip_count_like_images(term, sample, loss):
    term_loss = loss(term)
    if term_loss.min_frames > 1:
        pytest.skip("a temporal term is about the clip as a whole")
    prediction, batch = sample(b=1, t=5)

    def as_images(tree: Prediction | HandBatch) -> Prediction | HandBatch:
        return tree.map(lambda x: x.transpose(0, 1))

    expected = term_loss(prediction, batch)
    torch.testing.assert_close(term_loss(as_images(prediction), as_images(batch)), expected)


def test_holds_nothing_that_a_checkpoint_would_keep(term, loss):
    term_loss = loss(term)
    assert not term_loss.state_dict()
    assert not list(term_loss.parameters())
    assert all(not buffer.is_sparse for buffer in term_loss.buffers()), "DDP cannot broadcast them"
