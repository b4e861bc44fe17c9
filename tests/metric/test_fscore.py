"""F-scores against the golden values, a k-d tree and the definition's edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from s2hand.geometry.procrustes import procrustes_align
from s2hand.metric.fscore import f_scores


def test_golden(golden: Any) -> None:
    raw = f_scores(golden.predicted_vertices, golden.vertices).mean(0)
    assert raw.tolist() == pytest.approx([0.276508368562, 0.971724482957], abs=1e-11)
    aligned = procrustes_align(golden.predicted_vertices, golden.vertices).points
    scores = f_scores(aligned, golden.vertices).mean(0)
    assert scores.tolist() == pytest.approx([0.313062020741, 0.983133040904], abs=1e-11)


def test_every_chunk_agrees_with_a_k_d_tree() -> None:
    generator = torch.Generator().manual_seed(3)
    true = 0.1 * torch.rand(37, 50, 3, generator=generator, dtype=torch.float64)
    predicted = true[:, :41] + 0.006 * torch.randn(37, 41, 3, generator=generator)
    scores = f_scores(predicted, true, [0.004, 0.01])
    for p, t, score in zip(predicted.numpy(), true.numpy(), scores.numpy(), strict=True):
        recall = cKDTree(p).query(t)[0]
        precision = cKDTree(t).query(p)[0]
        for limit, value in zip([0.004, 0.01], score, strict=True):
            a, b = np.mean(recall < limit), np.mean(precision < limit)
            assert value == pytest.approx(2 * a * b / (a + b) if a + b else 0.0, abs=1e-12)


def test_the_threshold_is_strict_both_ways() -> None:
    one = torch.zeros(1, 1, 3)
    two = torch.tensor([[[0.0, 0, 0], [0.5, 0, 0]]])
    # the point at exactly 0.5 is not near: one of precision and recall is 1/2, the other 1
    assert f_scores(two, one, [0.5, 0.5000001]).tolist() == [[pytest.approx(2 / 3), 1.0]]
    assert f_scores(one, two, [0.5, 0.5000001]).tolist() == [[pytest.approx(2 / 3), 1.0]]


def test_nothing_near_is_zero() -> None:
    assert f_scores(torch.zeros(1, 2, 3), torch.ones(1, 2, 3), [0.5]).tolist() == [[0.0]]


def test_precision_and_recall_differ() -> None:
    true = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]]])
    predicted = torch.tensor([[[0.0, 0, 0]]])
    # precision 1, recall 1/4
    assert f_scores(predicted, true, [0.5]).item() == pytest.approx(0.4)
