from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from s2hand.loss.photometric import (
    MeanColour,
    Photometric,
    StructuralSimilarity,
    gaussian_band,
    image_weights,
    resize_image,
    ssim,
)
from s2hand.types import HandBatch, Prediction


def drawn(
    prediction: Prediction, batch: HandBatch, colour: float, difference: float
) -> tuple[Prediction, HandBatch]:
    """A flat hand on the left half over a flat image; right of it the image is white."""
    render, silhouette = prediction.render, torch.zeros_like(prediction.render.silhouette)
    silhouette[..., :5] = 1
    silhouette[..., 5] = 0.5  # an antialiased edge
    image = torch.ones_like(batch.image)
    image[..., :6] = colour
    rendered = (colour + difference) * silhouette[:, :, None].expand_as(render.image)
    render = replace(render, image=rendered, silhouette=silhouette)
    return replace(prediction, render=render), replace(batch, image=image)


@pytest.mark.parametrize("loss_class", [Photometric, MeanColour, StructuralSimilarity])
def test_is_zero_on_a_perfect_hand_whatever_lies_behind(loss_class, sample):
    prediction, batch = drawn(*sample(t=5), colour=0.4, difference=0)
    assert loss_class()(prediction, batch).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("loss_class", [Photometric, MeanColour])
def test_a_flat_difference_is_the_value(loss_class, sample):
    prediction, batch = drawn(*sample(), colour=0.4, difference=-0.15)
    assert loss_class()(prediction, batch).item() == pytest.approx(0.15)


def test_differences_cancel_in_the_mean_colour_only(sample):
    prediction, batch = drawn(*sample(), colour=0.5, difference=0)
    image = prediction.render.image.clone()
    image[..., :2, :5] += 0.1
    image[..., 2:4, :5] -= 0.1
    prediction = replace(prediction, render=replace(prediction.render, image=image))
    assert MeanColour()(prediction, batch).item() == pytest.approx(0, abs=1e-12)
    # 4 of 12 rows by 5 columns, of an area of 12 x 5.5
    assert Photometric()(prediction, batch).item() == pytest.approx(0.1 * 4 * 5 / (12 * 5.5))


def test_mean_colour_is_one_intensity(sample):
    prediction, batch = drawn(*sample(), colour=0.5, difference=0)
    image = prediction.render.image.clone()
    image[:, :, 0] *= 1.2
    image[:, :, 1] *= 0.8
    prediction = replace(prediction, render=replace(prediction.render, image=image))
    assert MeanColour()(prediction, batch).item() == pytest.approx(0, abs=1e-12)


def test_image_weights_by_hand():
    confidence = torch.full((1, 3, 21), 0.6)
    confidence[0, 0, :7] = 0.9
    confidence[0, 1, 20] = 0.1
    weights = image_weights(confidence)
    torch.testing.assert_close(weights, torch.tensor([[0.7**2, 0.0, 0.36]]))


def test_photometric_weighs_images(sample):
    prediction, batch = drawn(*sample(b=3), colour=0.5, difference=0)
    offset = torch.tensor([0.1, 0.2, 0.4], dtype=torch.float64).view(3, 1, 1, 1, 1)
    rendered = prediction.render.image + offset * prediction.render.silhouette[:, :, None]
    prediction = replace(prediction, render=replace(prediction.render, image=rendered))
    confidence = torch.full_like(batch.confidence, 0.5)
    confidence[1] = 1
    confidence[2, ..., 0] = 0.05
    batch = replace(batch, confidence=confidence)
    expected = (0.25 * 0.1 + 1 * 0.2) / 1.25
    assert Photometric()(prediction, batch).item() == pytest.approx(expected)
    assert MeanColour()(prediction, batch).item() == pytest.approx(expected)
    share = Photometric().diagnostics(prediction, batch)["active_share"]
    assert share.item() == pytest.approx(2 / 3)


@pytest.mark.parametrize("loss_class", [Photometric, MeanColour, StructuralSimilarity])
def test_a_hand_out_of_sight_is_finite(loss_class, sample):
    prediction, batch = sample()
    render = prediction.render.map(lambda x: torch.zeros_like(x).requires_grad_())
    value = loss_class()(replace(prediction, render=render), batch)
    value.backward()
    assert value.item() == pytest.approx(0)
    assert render.image.grad.isfinite().all()
    assert render.silhouette.grad.isfinite().all()


def test_the_edge_moves_towards_pixels_of_the_hand(sample):
    """Gradient descent covers a pixel that looks like the hand and uncovers one that does not."""
    prediction, batch = drawn(*sample(b=1), colour=0.5, difference=0.05)
    coverage = prediction.render.silhouette.clone().requires_grad_()
    colour = torch.full_like(prediction.render.image, 0.55)
    render = replace(prediction.render, silhouette=coverage, image=colour * coverage[:, :, None])
    image = batch.image.clone()
    image[..., 0, 5], image[..., 1, 5] = 0.55, 0.9
    Photometric()(replace(prediction, render=render), replace(batch, image=image)).backward()
    assert coverage.grad[0, 0, 0, 5] < 0
    assert coverage.grad[0, 0, 1, 5] > 0


def test_ssim_against_its_definition():
    """Wang et al. 2004, one window at a time, in plain loops."""
    a, b = torch.rand(2, 9, 13, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tap = torch.exp(-(torch.arange(-5, 6, dtype=torch.float64) ** 2) / (2 * 1.5**2))
    window = torch.outer(tap, tap) / tap.sum() ** 2
    actual = ssim(a, b)
    for i, j in [(0, 0), (4, 6), (8, 12), (3, 1)]:
        patches = []
        for image in (a, b):
            padded = torch.nn.functional.pad(image, (5, 5, 5, 5))
            patches.append(padded[i : i + 11, j : j + 11])
        x, y = patches
        mx, my = (window * x).sum(), (window * y).sum()
        vx, vy = (window * x * x).sum() - mx**2, (window * y * y).sum() - my**2
        cov = (window * x * y).sum() - mx * my
        expected = (2 * mx * my + 1e-4) * (2 * cov + 9e-4)
        expected = expected / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
        torch.testing.assert_close(actual[i, j], expected)


def test_ssim_of_opposite_images_is_low(sample):
    prediction, batch = sample()
    opposite = 1 - batch.image
    render = replace(prediction.render, silhouette=torch.ones_like(prediction.render.silhouette))
    same = replace(prediction, render=replace(render, image=batch.image))
    other = replace(prediction, render=replace(render, image=opposite))
    assert StructuralSimilarity()(same, batch).item() == pytest.approx(0, abs=1e-12)
    assert StructuralSimilarity()(other, batch) > 0.5


def test_gaussian_band_keeps_a_constant_inside():
    band = gaussian_band(32, torch.zeros((), dtype=torch.float64))
    torch.testing.assert_close(band.sum(-1)[5:-5], torch.ones(22, dtype=torch.float64))
    assert (band.sum(-1)[:5] < 1).all()
    assert torch.equal(band, band.T)


@pytest.mark.parametrize(("source", "target"), [(128, 64), (224, 64), (224, 112), (64, 128)])
def test_resizing_does_not_shift(source, target):
    """A ramp over the crop stays that ramp: pixel u of n lies at (u + 1/2) / n of the crop."""
    ramp = ((torch.arange(source, dtype=torch.float64) + 0.5) / source).expand(1, 2, 3, source, -1)
    expected = (torch.arange(target, dtype=torch.float64) + 0.5) / target
    actual = resize_image(ramp, target, target)
    margin = target // 16
    assert actual.shape == (1, 2, 3, target, target)
    torch.testing.assert_close(
        actual[0, 0, 0, 5, margin:-margin], expected[margin:-margin], rtol=0, atol=1e-4
    )


def test_images_are_compared_at_the_resolution_of_the_render(sample):
    prediction, batch = drawn(*sample(), colour=0.4, difference=0.1)
    finer = batch.image.repeat_interleave(2, -1).repeat_interleave(2, -2)
    # Blurs the edge of hand and background a little: only pixels of the column at the edge differ.
    value = Photometric()(prediction, replace(batch, image=finer)).item()
    assert value == pytest.approx(0.1, abs=0.02)


def test_without_a_render_it_says_so(sample):
    prediction, batch = sample()
    with pytest.raises(ValueError, match=r"prediction\.render"):
        Photometric()(replace(prediction, render=None), batch)


def test_a_smaller_image_has_no_aliases():
    image = torch.zeros(1, 1, 3, 32, 32)
    image[..., ::8] = 1  # lines between the samples of every eighth pixel
    small = resize_image(image, 4, 4)
    assert small.min() > 0.05, "0 where only the two nearest pixels count"
