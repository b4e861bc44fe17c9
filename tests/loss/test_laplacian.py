from __future__ import annotations

import pytest
import torch

from s2hand.loss.laplacian import LaplacianSmoothness


def test_a_point_is_smooth(sample, edit, fake_hand):
    prediction, batch = sample(t=5)
    vertices = torch.full_like(prediction.hand.vertices, 0.2)
    value = LaplacianSmoothness(fake_hand).double()(edit(prediction, vertices=vertices), batch)
    assert value.item() == pytest.approx(0, abs=1e-7)


def test_a_straight_strip_is_rough_at_its_ends_only(sample, edit, fake_hand):
    """Vertex i of the strip has neighbours i - 2, i - 1, i + 1, i + 2, one to a millimetre."""
    prediction, batch = sample(b=2, t=3)
    vertices = torch.zeros_like(prediction.hand.vertices)
    vertices[..., 1] = 0.001 * torch.arange(778, dtype=torch.float64)
    value = LaplacianSmoothness(fake_hand).double()(edit(prediction, vertices=vertices), batch)
    # first vertex: (1 + 2) / 2 - 0; second: (0 + 2 + 3) / 3 - 1; and the same at the other end
    expected = 2 * (1.5 + 2 / 3) * 0.001 / 778
    assert value.item() == pytest.approx(expected, rel=1e-4)


def test_is_the_mean_over_hands_and_knows_no_place(sample, edit, fake_hand):
    prediction, batch = sample(b=2)
    loss = LaplacianSmoothness(fake_hand).double()
    vertices = prediction.hand.vertices
    apart = [
        loss(edit(prediction, vertices=vertices[i : i + 1]), batch) for i in range(len(vertices))
    ]
    torch.testing.assert_close(loss(prediction, batch), torch.stack(apart).mean())
    torch.testing.assert_close(
        loss(edit(prediction, vertices=vertices + 0.6), batch),
        loss(prediction, batch),
        rtol=1e-5,
        atol=0,
    )


def test_agrees_with_the_dense_matrix(sample, fake_hand):
    prediction, batch = sample(b=1)
    adjacency = torch.zeros(778, 778, dtype=torch.float64)
    for a, b, c in fake_hand.faces.tolist():
        for i, j in ((a, b), (b, c), (c, a)):
            adjacency[i, j] = adjacency[j, i] = 1
    matrix = adjacency / adjacency.sum(1, keepdim=True) - torch.eye(778, dtype=torch.float64)
    expected = (matrix @ prediction.hand.vertices[0, 0]).norm(dim=-1).mean()
    value = LaplacianSmoothness(fake_hand).double()(prediction, batch)
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=0)
