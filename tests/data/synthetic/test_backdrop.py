from dataclasses import replace

import numpy as np
import pytest

from s2hand.data.synthetic.backdrop import Occluder, backdrop, noise_field, palette


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("px", [16, 96, 128, 224])
def test_backdrops_are_pictures(px):
    for seed in range(8):
        picture = backdrop(generator(seed), px)
        assert picture.shape == (3, px, px)
        assert picture.dtype == np.float32
        assert picture.min() >= 0
        assert picture.max() <= 1


def test_backdrops_are_reproducible_and_varied():
    pictures = np.stack([backdrop(generator(seed), 64) for seed in range(60)])
    np.testing.assert_array_equal(pictures[7], backdrop(generator(7), 64))
    colours = pictures.mean((2, 3))
    assert (colours.std(0) > 0.12).all()
    texture = np.abs(np.diff(pictures, axis=3)).mean((1, 2, 3))
    assert np.quantile(texture, 0.9) > 4 * np.quantile(texture, 0.1)


def test_palettes_are_grey_to_vivid():
    spread = np.array([np.ptp(palette(generator(seed), 2), axis=1).max() for seed in range(300)])
    assert np.quantile(spread, 0.1) < 0.1
    assert np.quantile(spread, 0.5) > 0.15
    assert np.quantile(spread, 0.9) > 0.5


def test_noise_spans_0_to_1():
    field = noise_field(generator(0), 64)
    assert field.min() == 0
    assert field.max() == 1
    assert np.abs(np.diff(field, axis=0)).max() < 0.6


def occluder(**changes: object) -> Occluder:
    return replace(
        Occluder((0.4, 0.6), 0.2, 0.1, 0.3, True, palette(generator(0), 2), 5),
        **changes,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(("ellipse", "area"), [(True, np.pi * 0.02), (False, 0.08)])
def test_an_occluder_covers_its_area_about_its_centre(ellipse, area):
    colour, opacity = occluder(ellipse=ellipse).draw(200)
    assert colour.shape == (3, 200, 200)
    assert opacity.mean() == pytest.approx(area, rel=0.02)
    centres = (np.arange(200) + 0.5) / 200
    assert (opacity.sum(0) @ centres) / opacity.sum() == pytest.approx(0.4, abs=1e-3)
    assert (opacity.sum(1) @ centres) / opacity.sum() == pytest.approx(0.6, abs=1e-3)
    assert 0.003 < ((opacity > 0) & (opacity < 1)).mean() < 0.03, "a soft edge of one pixel"
    x, y = np.meshgrid(centres - 0.4, centres - 0.6)
    xx, yy, xy = ((opacity * product).sum() for product in (x * x, y * y, x * y))
    assert np.arctan2(2 * xy, xx - yy) / 2 == pytest.approx(0.3, abs=0.01)


def test_an_occluder_keeps_its_texture_while_it_moves():
    colour, _ = occluder(angle=0.0).draw(64)
    moved, _ = occluder(angle=0.0, centre=(0.5, 0.6)).draw(64)
    again, _ = occluder(angle=0.0).draw(64)
    np.testing.assert_array_equal(colour, again)
    np.testing.assert_array_equal(colour, moved)  # along its axis the shade stays, too


def test_occluders_stay_smaller_than_the_hand_in_one_direction():
    for seed in range(50):
        one = Occluder.sample(generator(seed), (0.5, 0.5), 0.6)
        assert 0 < min(one.half_width, one.half_height) <= 0.32 * 0.6
