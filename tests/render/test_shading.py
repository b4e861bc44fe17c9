import pytest
import torch

from s2hand.render.shading import MIN_DIRECTION, shade

SKIN = torch.tensor([0.8, 0.6, 0.5])
FACING = torch.tensor([0.0, 0.0, -1.0])  # a surface turned towards the camera


def lit(normal=FACING, **values):
    """One vertex under a light whose entries are 0 unless given."""
    light = torch.zeros(1, 11)
    places = {"ambient": 0, "directional": 1, "ambient_rgb": slice(2, 5),
              "directional_rgb": slice(5, 8), "direction": slice(8, 11)}  # fmt: skip
    for name, value in values.items():
        light[0, places[name]] = torch.as_tensor(value)
    return shade(SKIN.view(1, 1, 3), normal.view(1, 1, 3), light)[0, 0]


def test_no_light_is_black():
    assert (lit() == 0).all()


def test_ambient_light_is_intensity_times_colour():
    colour = torch.tensor([1.0, 0.5, 0.0])
    torch.testing.assert_close(lit(ambient=0.5, ambient_rgb=colour), SKIN * 0.5 * colour)


@pytest.mark.parametrize("degrees", [0, 30, 60, 90, 150])
def test_directional_light_falls_with_the_cosine(degrees):
    angle = torch.deg2rad(torch.tensor(float(degrees)))
    direction = torch.stack([angle.sin(), torch.tensor(0.0), angle.cos()])
    colour = torch.tensor([1.0, 0.5, 0.25])
    seen = lit(directional=2.0, directional_rgb=colour, direction=3 * direction)
    expected = SKIN * 2 * colour * max(0.0, angle.cos().item())
    torch.testing.assert_close(seen, expected, atol=1e-6, rtol=1e-6)


def test_light_that_travels_away_from_the_camera_lights_what_faces_it():
    one = {"directional": 1.0, "directional_rgb": 1.0}
    assert (lit(direction=[0.0, 0, 1], **one) > 0).all()
    assert (lit(direction=[0.0, 0, -1], **one) == 0).all()


def test_where_training_starts_the_directional_light_matters():
    light = torch.ones(1, 11, requires_grad=True)
    shade(SKIN.view(1, 1, 3), FACING.view(1, 1, 3), light).sum().backward()
    assert (light.grad.abs() > 0)[0].all()


def test_a_light_without_direction_keeps_gradients_finite():
    light = torch.ones(1, 11)
    light[:, 8:] = 0
    light.requires_grad_()
    shade(SKIN.view(1, 1, 3), FACING.view(1, 1, 3), light).sum().backward()
    assert light.grad.isfinite().all()


def test_gradients_of_a_faint_direction_are_bounded():
    light = torch.ones(1, 11)
    light[:, 8:] = torch.tensor([1e-9, 0.0, 1e-9])
    light.requires_grad_()
    shade(SKIN.view(1, 1, 3), FACING.view(1, 1, 3), light).sum().backward()
    assert 0 < light.grad[:, 8:].abs().max() <= 3 / MIN_DIRECTION


def test_gradients():
    generator = torch.Generator().manual_seed(0)
    texture, normals, light = (
        torch.rand(*shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in ((2, 5, 3), (2, 5, 3), (2, 11))
    )
    assert torch.autograd.gradcheck(shade, (texture, -normals, light))
