"""Benchmarks by name: golden values, zero predictions by formula, which frames and joints count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from torch import Tensor

from s2hand.metric.protocols import BENCHMARKS, BenchmarkMetrics

GOLDEN = {
    "mpjpe_mm": 119.864606951, "auc_joints_0_50mm": 0.0, "pa_mpjpe_mm": 26.758249419,
    "pa_auc_joints_0_50mm": 0.465897065897, "mpvpe_mm": 14.388871879,
    "auc_mesh_0_50mm": 0.712201708603, "pa_mpvpe_mm": 13.764736219,
    "pa_auc_mesh_0_50mm": 0.724722806471, "f5": 0.276508368562, "f15": 0.971724482957,
    "pa_f5": 0.313062020741, "pa_f15": 0.983133040904,
}  # fmt: skip


def measured(name: str, *points: Tensor) -> dict[str, float]:
    metric = BenchmarkMetrics(name)
    metric.update(*points)
    return {key: float(value) for key, value in metric.compute().items()}


@pytest.mark.parametrize("name", ["freihand", "ho3d"])
def test_golden_values(golden: Any, name: str) -> None:
    metric = BenchmarkMetrics(name)
    for rows in (slice(0, 2), slice(2, 5)):
        metric.update(
            golden.predicted_joints[rows], golden.joints[rows],
            golden.predicted_vertices[rows], golden.vertices[rows],
        )  # fmt: skip
    found = {key: float(value) for key, value in metric.compute().items()}
    assert found == pytest.approx(found | GOLDEN, abs=1e-8)
    assert set(found) - set(GOLDEN) == (
        {"st_mpjpe_mm", "st_auc_joints_0_50mm"} if name == "ho3d" else set()
    )


def test_golden_scale_translation_of_ho3d(golden: Any) -> None:
    order = torch.arange(21)
    order[[4, 9]] = order[[9, 4]]  # the golden bone is (4, 0), in HO-3D's order
    found = measured("ho3d", golden.predicted_joints[:, order], golden.joints[:, order])
    assert found["st_mpjpe_mm"] == pytest.approx(42.672530185, abs=1e-8)
    assert found["st_auc_joints_0_50mm"] == pytest.approx(0.312794612795, abs=1e-11)
    assert "mpvpe_mm" not in found


@pytest.mark.parametrize(("name", "key"), [("dexycb", "rr_mpjpe_mm"), ("interhand", "rr_mpjpe_mm")])
def test_golden_root_relative(golden: Any, name: str, key: str) -> None:
    found = measured(name, golden.predicted_joints, golden.joints)
    assert found[key] == pytest.approx(43.881648909, abs=1e-8)
    if name == "interhand":
        assert set(found) == {"rr_mpjpe_mm"}, "its paper gives no area"
    else:
        assert found["rr_auc_joints_0_50mm"] == pytest.approx(0.302453102453, abs=1e-11)
        assert found["pa_mpjpe_mm"] == pytest.approx(26.758249419, abs=1e-8)


def test_a_zero_prediction_scores_what_the_formulas_say(golden: Any) -> None:
    """Raw: distance to the camera; aligned: every point at the centroid of the truth."""
    zeros = [torch.zeros_like(golden.joints), torch.zeros_like(golden.vertices)]
    found = measured("ho3d", zeros[0], golden.joints, zeros[1], golden.vertices)
    for key, truth in (("mpjpe_mm", golden.joints), ("mpvpe_mm", golden.vertices)):
        raw = 1000 * truth.norm(dim=-1).mean()
        centred = 1000 * (truth - truth.mean(1, keepdim=True)).norm(dim=-1).mean()
        assert found[key] == pytest.approx(float(raw), rel=1e-12)
        assert found[f"pa_{key}"] == pytest.approx(float(centred), rel=1e-12)
    # A bone without length keeps its scale; the wrist goes onto the truth's.
    relative = 1000 * (golden.joints - golden.joints[:, :1]).norm(dim=-1).mean()
    assert found["st_mpjpe_mm"] == pytest.approx(float(relative), rel=1e-12)
    assert (found["f5"], found["f15"], found["auc_joints_0_50mm"]) == (0, 0, 0)


def test_stb_and_rhd_are_the_published_formulas(golden: Any) -> None:
    """The two scripts written out in numpy."""
    predicted, true = golden.predicted_joints.numpy(), golden.joints.numpy()

    def area(scale: tuple[int, int], root: int, thresholds: np.ndarray) -> tuple[float, float]:
        ratio = [
            np.linalg.norm(t[scale[0]] - t[scale[1]]) / np.linalg.norm(p[scale[0]] - p[scale[1]])
            for p, t in zip(predicted, true, strict=True)
        ]
        scaled = predicted * np.array(ratio)[:, None, None]
        moved = scaled - scaled[:, root : root + 1] + true[:, root : root + 1]
        error = np.linalg.norm(moved - true, axis=-1)
        error[:, root] = 0  # exactly, as the scripts subtract the root from both
        pck = np.array([(error <= limit).mean(0) for limit in thresholds])
        span = thresholds[-1] - thresholds[0]
        return error.mean(), np.mean(trapezoid(pck, thresholds, axis=0)) / span

    mean_a, auc_a = area((9, 10), 0, np.linspace(0, 0.05, 20)[8:])
    mean_b, auc_b = area((0, 9), 9, np.linspace(20, 50, 15) / 1000)
    wanted = {"root0_mpjpe_mm": 1000 * mean_a, "root0_auc_joints_21_50mm": auc_a}
    assert measured("stb_a", golden.predicted_joints, golden.joints) == pytest.approx(wanted)
    other = {"root9_mpjpe_mm": 1000 * mean_b, "root9_auc_joints_20_50mm": auc_b}
    assert measured("stb_b", golden.predicted_joints, golden.joints) == pytest.approx(other)
    both = measured("rhd", golden.predicted_joints, golden.joints)
    assert both == pytest.approx(wanted | other)
    assert auc_a != pytest.approx(auc_b, abs=0.01), "they cannot be compared"


def test_frames_without_labels_do_not_count(golden: Any) -> None:
    truth = golden.joints.clone()
    truth[1], truth[3, 7] = torch.nan, torch.nan
    kept = [0, 2, 4]
    found = measured("dexycb", golden.predicted_joints, truth)
    whole = measured("dexycb", golden.predicted_joints[kept], golden.joints[kept])
    assert found == whole


def test_interhand_counts_the_labelled_joints_of_frames_with_a_wrist(golden: Any) -> None:
    truth, predicted = golden.joints.clone(), golden.predicted_joints
    truth[3, 7], truth[1, 0] = torch.nan, torch.nan
    relative = ((predicted - predicted[:, :1]) - (truth - truth[:, :1])).norm(dim=-1)
    relative[1] = torch.nan
    expected = 1000 * relative.nanmean(0).mean()
    assert measured("interhand", predicted, truth)["rr_mpjpe_mm"] == pytest.approx(float(expected))


def test_interhand_takes_the_mean_over_the_joints_of_both_hands(golden: Any) -> None:
    """Its script keeps 42 lists of distances; frames of one hand do not outweigh the other's."""
    truth = golden.joints[:4]
    off = torch.tensor([10.0, 10, 10, 30]) / 1000
    predicted = truth.clone()
    predicted[:, 1:, 0] += off[:, None]
    left = torch.tensor([False, False, False, True])
    metric = BenchmarkMetrics("interhand")
    for rows in (slice(0, 3), slice(3, 4)):  # in any batches
        metric.update(predicted[rows], truth[rows], left=left[rows])
    found = float(metric.compute()["rr_mpjpe_mm"])
    assert found == pytest.approx((10 + 30) / 2 * 20 / 21)


def test_rhd_counts_visible_joints_and_is_aligned_by_all(golden: Any) -> None:
    predicted, truth = golden.predicted_joints, golden.joints
    visible = torch.ones(5, 21, dtype=torch.bool)
    visible[:, 9] = visible[2, 5] = False
    metric = BenchmarkMetrics("rhd")
    metric.update(predicted, truth, visible=visible)
    ratio = (truth[:, 9] - truth[:, 10]).norm(dim=-1) / (predicted[:, 9] - predicted[:, 10]).norm(
        dim=-1
    )
    scaled = predicted * ratio[:, None, None]
    error = (scaled - scaled[:, :1] + truth[:, :1] - truth).norm(dim=-1).double()
    expected = 1000 * error.where(visible, torch.nan).nanmean(0).nanmean()
    assert float(metric.compute()["root0_mpjpe_mm"]) == pytest.approx(float(expected), rel=1e-5)


def test_nothing_known_gives_nothing(golden: Any) -> None:
    metric = BenchmarkMetrics("freihand")
    metric.update(golden.predicted_joints, torch.nan * golden.joints)
    assert metric.compute() == {}


def test_it_forgets(golden: Any) -> None:
    metric = BenchmarkMetrics("freihand")
    metric.update(10 * golden.joints, golden.joints)
    metric.compute()
    metric.reset()
    metric.update(golden.predicted_joints, golden.joints)
    assert float(metric.compute()["mpjpe_mm"]) == pytest.approx(GOLDEN["mpjpe_mm"], abs=1e-8)


def test_every_name_of_the_package_is_known() -> None:
    assert set(BENCHMARKS) == {
        "freihand", "ho3d", "dexycb", "stb_a", "stb_b", "rhd", "interhand", "youtube",
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"protocol='stb'; known: freihand, .*stb_a"):
        BenchmarkMetrics("stb")
