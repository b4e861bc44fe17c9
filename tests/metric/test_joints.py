"""Point errors against the official scripts' golden values and against hand-computed cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from s2hand.metric.joints import (
    PROTOCOLS,
    PointErrors,
    area_under_curve,
    keypoint_median,
    pck_curve,
)

# protocol: mean m, median m, AUC
GOLDEN_JOINTS = {
    "camera": (0.119864606951, 0.119582474476, 0.0),
    "pa": (0.026758249419, 0.025181541380, 0.465897065897),
    "root": (0.043881648909, 0.043991879550, 0.302453102453),
}
GOLDEN_VERTICES = {
    "camera": (0.014388871879, 0.712201708603),
    "pa": (0.013764736219, 0.724722806471),
}


@pytest.mark.parametrize("protocol", GOLDEN_JOINTS)
def test_golden_joints(golden: Any, protocol: str) -> None:
    metric = PointErrors(21, protocol)
    metric.update(golden.predicted_joints[:2], golden.joints[:2])
    metric.update(golden.predicted_joints[2:], golden.joints[2:])
    result = metric.compute()
    mean, median, auc = GOLDEN_JOINTS[protocol]
    assert result["mean_mm"].item() / 1000 == pytest.approx(mean, abs=1e-11)
    assert result["median_mm"].item() / 1000 == pytest.approx(median, abs=1e-11)
    assert result["auc"].item() == pytest.approx(auc, abs=1e-11)


def test_golden_scale_translation(golden: Any) -> None:
    """The golden bone is (4, 0): HO-3D's middle MCP, which the common order calls 9."""
    order = torch.arange(21)
    order[[4, 9]] = order[[9, 4]]
    metric = PointErrors(21, "scale_translation")
    metric.update(golden.predicted_joints[:, order], golden.joints[:, order])
    result = metric.compute()
    assert result["mean_mm"].item() / 1000 == pytest.approx(0.042672530185, abs=1e-11)
    assert result["median_mm"].item() / 1000 == pytest.approx(0.039124226203, abs=1e-11)
    assert result["auc"].item() == pytest.approx(0.312794612795, abs=1e-11)


@pytest.mark.parametrize("protocol", GOLDEN_VERTICES)
def test_golden_vertices(golden: Any, protocol: str) -> None:
    metric = PointErrors(778, protocol)
    metric.update(golden.predicted_vertices, golden.vertices)
    result = metric.compute()
    mean, auc = GOLDEN_VERTICES[protocol]
    assert result["mean_mm"].item() / 1000 == pytest.approx(mean, abs=1e-11)
    assert result["auc"].item() == pytest.approx(auc, abs=1e-11)


def test_golden_mirror(golden: Any) -> None:
    true = golden.joints[:1]
    mirrored = true * torch.tensor([-1.0, 1, 1])
    official, proper = PointErrors(), PointErrors(reflection="proper")
    for metric in (official, proper):
        metric.update(mirrored, true)
    with pytest.warns(UserWarning, match="mirrored 1 of 1"):
        assert official.compute()["mean_mm"].item() / 1000 == pytest.approx(4.2e-9, abs=1e-10)
    assert proper.compute()["mean_mm"].item() / 1000 == pytest.approx(0.013358629032, abs=1e-9)


def test_pck_counts_a_distance_equal_to_the_threshold() -> None:
    curve = pck_curve(torch.tensor([[0.25, 1.0], [0.5, torch.nan]]), torch.tensor([0.25, 0.5]))
    assert curve.tolist() == [[0.5, 0.0], [1.0, 0.0]]


def test_auc_of_a_ramp_and_of_a_step() -> None:
    thresholds = torch.linspace(0, 0.05, 3)
    assert area_under_curve(torch.tensor([0.0, 0.5, 1.0]), thresholds).item() == pytest.approx(0.5)
    assert area_under_curve(torch.tensor([0.0, 1.0, 1.0]), thresholds).item() == pytest.approx(0.75)


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_median_is_numpys(count: int) -> None:
    distances = torch.rand(count, 7, generator=torch.Generator().manual_seed(count))
    distances[0, 0] = torch.nan
    expected = np.nanmedian(distances[:, 1:].numpy(), axis=0)
    np.testing.assert_allclose(keypoint_median(distances)[1:], expected, rtol=1e-6)
    if count == 1:
        assert keypoint_median(distances)[0].isnan()
    else:
        assert keypoint_median(distances)[0] == pytest.approx(np.median(distances[1:, 0]))


def test_means_are_taken_per_keypoint_first_over_visible_samples() -> None:
    true = torch.zeros(2, 21, 3)
    predicted = torch.zeros(2, 21, 3)
    predicted[0, 0, 0], predicted[1, 0, 0], predicted[0, 1, 1] = 0.001, 0.003, 0.008
    visible = torch.zeros(2, 21, dtype=torch.bool)
    visible[:, 0] = visible[0, 1] = True
    metric = PointErrors(21, "camera")
    metric.update(predicted, true, visible)
    # keypoint 0: (1 + 3) / 2 = 2 mm; keypoint 1: 8 mm; the others are never seen
    assert metric.compute()["mean_mm"].item() == pytest.approx(5.0)
    assert metric.distances_m().shape == (2, 21)


def test_stb_and_rhd_protocols_are_the_two_published_ones() -> None:
    a, b = PROTOCOLS["stb_rhd_root0"], PROTOCOLS["stb_rhd_root9"]
    np.testing.assert_allclose(a.thresholds_m(), np.linspace(0, 0.05, 20)[8:], atol=1e-15)
    np.testing.assert_allclose(b.thresholds_m(), np.linspace(20, 50, 15) / 1000, atol=1e-15)
    generator = torch.Generator().manual_seed(0)
    true, predicted = torch.rand(2, 3, 21, 3, generator=generator, dtype=torch.float64)
    for protocol, root, bone in ((a, 0, (9, 10)), (b, 9, (0, 9))):
        assert protocol.align is not None
        aligned = protocol.align(predicted, true)
        torch.testing.assert_close(aligned[:, root], true[:, root])
        lengths = [(x[:, bone[0]] - x[:, bone[1]]).norm(dim=-1) for x in (aligned, true)]
        torch.testing.assert_close(*lengths)


def test_errors_name_the_value_and_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"'pca'.*camera, pa, root"):
        PointErrors(21, "pca")
    with pytest.raises(ValueError, match=r"\(2, 778, 3\).*\[n, 21, 3\]"):
        PointErrors(21).update(torch.zeros(2, 778, 3), torch.zeros(2, 778, 3))
    with pytest.raises(ValueError, match="visible"):
        PointErrors(21).update(torch.full((1, 21, 3), torch.nan), torch.zeros(1, 21, 3))
