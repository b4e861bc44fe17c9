"""The logged metrics: values on known errors, what is left out, and bad predictions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from s2hand.geometry.procrustes import procrustes_align
from s2hand.geometry.rotation import axis_angle_to_matrix
from s2hand.geometry.skeleton import JOINT_NAMES
from s2hand.metric.fscore import f_scores
from s2hand.metric.hands import NAMES, HandMetrics
from s2hand.metric.joints import PointErrors
from s2hand.types import Camera, Hand, HandBatch, HandCode, Labels, Prediction

LABELLED = NAMES[:8]


def batch_of(joints: Tensor, vertices: Tensor) -> HandBatch:
    b, t = joints.shape[:2]
    return HandBatch(
        image=torch.zeros(b, t, 3, 8, 8),
        keypoints=torch.zeros(b, t, 21, 2),
        confidence=torch.ones(b, t, 21),
        camera=Camera(torch.eye(3).expand(b, t, 3, 3)),
        index=torch.arange(b * t).reshape(b, t),
        labels=Labels(joints, vertices),
    )


def prediction_of(joints: Tensor, vertices: Tensor) -> Prediction:
    b, t = joints.shape[:2]
    sizes = {"pose": 30, "shape": 10, "scale": 1, "rotation": 3, "translation": 3, "light": 11}
    code = HandCode(
        **{name: torch.zeros(b, t, size) for name, size in sizes.items()},
        texture=torch.zeros(b, t, 778, 3),
    )
    hand = Hand(code, vertices, joints, torch.zeros(b, t, 16, 4))
    return Prediction(hand, torch.zeros(b, t, 21, 2))


def random_hands(b: int, t: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    joints = 0.1 * torch.randn(b, t, 21, 3, generator=generator)
    vertices = 0.1 * torch.randn(b, t, 778, 3, generator=generator)
    return joints, vertices


def noisy(points: Tensor, metres: float, seed: int = 9) -> Tensor:
    noise = torch.randn(points.shape, generator=torch.Generator().manual_seed(seed))
    return points + metres * noise


def test_a_perfect_prediction() -> None:
    true = random_hands(2, 3)
    metric = HandMetrics()
    metric.update(prediction_of(*true), batch_of(*true))
    result = metric.compute()
    assert tuple(result) == NAMES
    for name, value in result.items():
        perfect = 1.0 if name.startswith(("f", "auc")) else 0.0
        # float32 hands and the 1e-8 of the official alignment
        assert value.item() == pytest.approx(perfect, abs=1e-4 if name.startswith("pa") else 6e-3)


def test_a_similarity_is_forgiven_by_pa_and_a_shift_by_rr() -> None:
    joints, vertices = random_hands(3, 1)
    turn = 1.2 * axis_angle_to_matrix(torch.tensor([0.4, -1.0, 0.7]))
    shift = torch.tensor([0.0, 0.03, 0.04])
    metric = HandMetrics()
    metric.update(
        prediction_of(joints @ turn + shift, vertices @ turn + shift), batch_of(joints, vertices)
    )
    result = metric.compute()
    assert result["pa_mpjpe_mm"].item() == pytest.approx(0, abs=1e-3)
    assert result["pa_mpvpe_mm"].item() == pytest.approx(0, abs=1e-3)
    assert result["rr_mpjpe_mm"] > 20
    assert result["f15_pa"].item() == pytest.approx(1)
    assert result["f15"] < 1
    metric.reset()
    metric.update(prediction_of(joints + shift, vertices), batch_of(joints, vertices))
    assert metric.compute()["rr_mpjpe_mm"].item() == pytest.approx(0, abs=1e-4)


def test_values_are_those_of_the_leaderboard_metrics() -> None:
    joints, vertices = random_hands(5, 2)
    predicted = noisy(joints, 0.01), noisy(vertices, 0.004)
    metric = HandMetrics()
    metric.update(prediction_of(*predicted), batch_of(joints, vertices))
    result = metric.compute()
    for points, true, name in (
        (predicted[0], joints, "pa_mpjpe_mm"),
        (predicted[1], vertices, "pa_mpvpe_mm"),
    ):
        official = PointErrors(true.shape[2])
        official.update(points.flatten(0, 1), true.flatten(0, 1))
        assert result[name].item() == pytest.approx(official.compute()["mean_mm"].item(), rel=1e-12)
        if name == "pa_mpjpe_mm":
            assert result["auc_pa_50mm"].item() == pytest.approx(official.compute()["auc"].item())
    flat = predicted[1].flatten(0, 1).double()
    true = vertices.flatten(0, 1).double()
    expected = f_scores(flat, true).mean(0).tolist()
    expected += f_scores(procrustes_align(flat, true).points, true).mean(0).tolist()
    names = ("f5", "f15", "f5_pa", "f15_pa")
    assert [result[name].item() for name in names] == pytest.approx(expected)


def test_2d_errors_are_weighed_by_keypoints_that_were_detected() -> None:
    batch = replace(batch_of(*random_hands(1, 2)), labels=None)
    batch.keypoints[0, 0, 0] = torch.tensor([3.0, 4.0])
    batch.keypoints[0, 1, 5] = torch.tensor([0.0, 11.0])
    batch.keypoints[0, 1, 6] = torch.nan
    batch.confidence.zero_()
    batch.confidence[0, 0, 0], batch.confidence[0, 1, 5] = 0.5, 0.9
    metric = HandMetrics()
    metric.update(prediction_of(*random_hands(1, 2)), batch)
    result = {name: value.item() for name, value in metric.compute().items()}
    assert result == {"error_2d_px": 8.0, "error_2d_confident_px": 11.0}


def test_frames_without_vertices_count_for_the_joints_only() -> None:
    joints, vertices = random_hands(2, 2)
    predicted = noisy(joints, 0.01), noisy(vertices, 0.01)
    partly = vertices.clone()
    partly[0, 1] = torch.nan
    metric, rest = HandMetrics(), HandMetrics()
    metric.update(prediction_of(*predicted), batch_of(joints, partly))
    kept = torch.tensor([[True, False], [True, True]])
    rest.update(
        prediction_of(predicted[0][kept][None], predicted[1][kept][None]),
        batch_of(joints[kept][None], vertices[kept][None]),
    )
    for name in ("pa_mpvpe_mm", "f5", "f15_pa"):
        assert metric.compute()[name].item() == pytest.approx(rest.compute()[name].item())
    assert metric.compute()["pa_mpjpe_mm"] != rest.compute()["pa_mpjpe_mm"]
    metric.reset()
    metric.update(prediction_of(*predicted), batch_of(joints, torch.full_like(vertices, torch.nan)))
    assert set(metric.compute()) == {n for n in NAMES if n[0] != "f" and n != "pa_mpvpe_mm"}


def test_without_mesh_there_are_no_f_scores() -> None:
    true = random_hands(1, 1)
    metric = HandMetrics(mesh=False)
    metric.update(prediction_of(*true), batch_of(*true))
    assert set(NAMES) - set(metric.compute()) == {"f5", "f15", "f5_pa", "f15_pa"}


def test_a_mirrored_prediction_is_reported_once() -> None:
    joints, vertices = random_hands(2, 1)
    mirror = torch.tensor([-1.0, 1, 1])
    metric = HandMetrics(mesh=False)
    for warn in (True, False):
        metric.update(prediction_of(joints * mirror, vertices), batch_of(joints, vertices))
        if warn:
            with pytest.warns(UserWarning, match="mirrored 2 of 2 predictions.*proper"):
                metric.compute()
        else:
            metric.compute()
        metric.reset()


def test_a_prediction_that_is_not_finite_names_its_frames() -> None:
    joints, vertices = random_hands(2, 2)
    broken = vertices.clone()
    broken[1, 0, 5, 2] = torch.inf
    with pytest.raises(ValueError, match=r"frames \[2\] are not finite"):
        HandMetrics().update(prediction_of(joints, broken), batch_of(joints, vertices))


def test_the_error_of_each_joint_is_that_of_the_metric_of_points() -> None:
    (joints, vertices), metric = random_hands(4, 2), HandMetrics(mesh=False)
    predicted = noisy(joints, 0.01)
    points = PointErrors(21, "pa")
    for part in (slice(0, 1), slice(1, 4)):
        metric.update(
            prediction_of(predicted[part], vertices[part]), batch_of(joints[part], vertices[part])
        )
        points.update(predicted[part].flatten(0, 1), joints[part].flatten(0, 1))
    assert metric.joint_table() == []
    mean = metric.compute()["pa_mpjpe_mm"].item()
    errors = 1000 * points.distances_m()
    rows = metric.joint_table()
    assert [row["joint"] for row in rows] == list(JOINT_NAMES)
    assert [row["pa_mm"] for row in rows] == pytest.approx(errors.mean(0).tolist())
    assert [row["sd_mm"] for row in rows] == pytest.approx(errors.std(0, correction=0).tolist())
    assert sum(row["pa_mm"] for row in rows) / 21 == pytest.approx(mean)
    metric.reset()
    unlabelled = replace(batch_of(joints, vertices), labels=None)
    metric.update(prediction_of(joints, vertices), unlabelled)
    metric.compute()
    assert metric.joint_table() == []
