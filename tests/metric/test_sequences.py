"""The logged video metrics: which frames follow each other, whatever batches they came in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from s2hand.metric.joints import PointErrors
from s2hand.metric.motion import MotionErrors, SequenceConsistency
from s2hand.metric.sequences import SequenceMetrics
from s2hand.types import Camera, Hand, HandBatch, HandCode, Labels, Prediction


def noise(*shape: int, seed: int) -> Tensor:
    return 0.05 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def frames(n: int, seed: int = 0) -> tuple[Prediction, HandBatch]:
    """n frames as a batch of clips of one frame, indices 0 to n - 1."""
    sizes = {"pose": 30, "scale": 1, "rotation": 3, "translation": 3, "light": 11}
    code = HandCode(
        **{name: torch.zeros(n, 1, size) for name, size in sizes.items()},
        shape=noise(n, 1, 10, seed=seed + 1),
        texture=noise(n, 1, 778, 3, seed=seed + 2),
    )
    joints = noise(n, 1, 21, 3, seed=seed + 3)
    hand = Hand(code, torch.zeros(n, 1, 778, 3), joints, torch.zeros(n, 1, 16, 4))
    batch = HandBatch(
        image=torch.zeros(n, 1, 3, 4, 4),
        keypoints=torch.zeros(n, 1, 21, 2),
        confidence=torch.ones(n, 1, 21),
        camera=Camera(torch.eye(3).expand(n, 1, 3, 3)),
        index=torch.arange(n)[:, None],
        labels=Labels(noise(n, 1, 21, 3, seed=seed + 4), torch.zeros(n, 1, 778, 3)),
    )
    return Prediction(hand, torch.zeros(n, 1, 21, 2)), batch


def measured(
    parts: Sequence[tuple[Prediction, HandBatch]],
    segments: Sequence[Sequence[int]],
    fps: Any = None,
) -> dict[str, float]:
    metric = SequenceMetrics()
    metric.segments, metric.fps = segments, fps
    for prediction, batch in parts:
        metric.update(prediction, batch)
    return {name: value.item() for name, value in metric.compute().items()}


def test_the_values_are_those_of_the_metrics_on_whole_sequences() -> None:
    prediction, batch = frames(9)
    found = measured([(prediction, batch)], [range(5), range(5, 9)], fps=30)
    assert batch.labels is not None
    joints, truth = prediction.hand.joints[:, 0], batch.labels.joints[:, 0]
    for name, alignment in (("root", "root"), ("pa", "pa")):
        whole = MotionErrors(alignment, fps=30)  # type: ignore[arg-type]
        for run in (slice(0, 5), slice(5, 9)):
            whole.update(joints[run][None], truth[run][None])
        expected = whole.compute()
        for unit in ("mm_frame2", "mm_s2"):
            assert found[f"acceleration_error_{name}_{unit}"] == pytest.approx(
                expected[f"acceleration_error_{unit}"].item(), rel=1e-5
            )
    still = MotionErrors("camera")
    still.update(joints[None, :5])
    still.update(joints[None, 5:])
    assert found["jitter_camera_mm_frame2"] == pytest.approx(
        still.compute()["jitter_mm_frame2"].item(), rel=1e-5
    )
    consistency = SequenceConsistency()
    code = prediction.hand.code
    for run in (slice(0, 5), slice(5, 9)):
        consistency.update(joints[None, run], code.shape[None, run, 0], code.texture[None, run, 0])
    for name, value in consistency.compute().items():
        assert found[name] == pytest.approx(value.item(), rel=1e-5)


def test_neither_order_nor_batches_nor_repeated_frames_matter() -> None:
    prediction, batch = frames(8)
    whole = measured([(prediction, batch)], [range(8)])
    order = torch.tensor([6, 1, 3, 7, 0, 2, 5, 4, 1])
    pieces = [(prediction[rows], batch[rows]) for rows in (order[:4], order[4:])]
    assert measured(pieces, [range(8)]) == pytest.approx(whole)


def test_segments_may_name_frames_in_any_order() -> None:
    prediction, batch = frames(6)
    turned = [5, 3, 1, 0, 2, 4]
    sorted_frames = prediction[torch.tensor(turned)], replace(batch, labels=None)
    expected = measured([sorted_frames], [range(6)])["jitter_root_mm_frame2"]
    found = measured([(prediction, replace(batch, labels=None))], [turned])
    assert found["jitter_root_mm_frame2"] == pytest.approx(expected)


def test_a_frame_that_is_missing_or_unlabelled_is_a_cut() -> None:
    prediction, batch = frames(7)
    kept = torch.tensor([0, 1, 2, 4, 5, 6])
    missing = measured([(prediction[kept], batch[kept])], [range(7)])
    assert batch.labels is not None
    joints = batch.labels.joints.clone()
    joints[3] = torch.nan
    unlabelled = replace(batch, labels=replace(batch.labels, joints=joints))
    found = measured([(prediction, unlabelled)], [range(7)])
    name = "acceleration_error_root_mm_frame2"
    assert found[name] == pytest.approx(missing[name])
    assert found["jitter_root_mm_frame2"] != pytest.approx(missing["jitter_root_mm_frame2"])
    apart = MotionErrors("root")
    for run in (slice(0, 3), slice(4, 7)):
        apart.update(prediction.hand.joints[run, 0][None], batch.labels.joints[run, 0][None])
    # One sequence with a cut in it: its two triples weigh the same.
    assert found[name] == pytest.approx(
        apart.compute()["acceleration_error_mm_frame2"].item(), rel=1e-5
    )


def test_without_labels_or_sequences_less_is_known() -> None:
    prediction, batch = frames(4)
    names = measured([(prediction, replace(batch, labels=None))], [range(4)])
    assert set(names) == {
        "jitter_root_mm_frame2", "jitter_camera_mm_frame2", "shape_sd", "bone_sd_mm", "texture_sd",
    }  # fmt: skip
    assert measured([(prediction, batch)], [[0], [1], [2, 3]]) == {}
    assert measured([], [range(4)]) == {}


def test_a_hand_that_never_moves_scores_the_truths_own_jitter() -> None:
    prediction, batch = frames(6)
    frozen = replace(prediction.hand, joints=prediction.hand.joints[:1].expand(6, 1, 21, 3))
    found = measured([(replace(prediction, hand=frozen), batch)], [range(6)])
    assert found["jitter_root_mm_frame2"] == pytest.approx(0, abs=1e-3)
    assert found["acceleration_error_root_mm_frame2"] == pytest.approx(
        found["true_jitter_root_mm_frame2"], rel=1e-4
    )


@pytest.mark.filterwarnings("ignore:Procrustes mirrored")  # of hands that are noise
def test_every_sequence_has_a_row_of_its_own() -> None:
    prediction, batch = frames(12)
    assert batch.labels is not None
    segments = [range(5), range(5, 9), range(9, 11)]  # the last is too short
    metric = SequenceMetrics()
    metric.segments = segments
    metric.update(prediction, batch)
    overall = metric.compute()
    rows = metric.table([f"{'ab'[i >= 5]}/{i:02d}" for i in range(12)])
    assert [(row["sequence"], row["first"], row["frames"]) for row in rows] == [
        ("a", "a/00", 5), ("b", "b/05", 4),
    ]  # fmt: skip
    for row, segment in zip(rows, segments[:2], strict=True):
        alone = measured([(prediction, batch)], [segment])
        assert {name: row[name] for name in alone} == alone
        points = PointErrors(21, "pa")
        chosen = list(segment)
        points.update(prediction.hand.joints[chosen, 0], batch.labels.joints[chosen, 0])
        assert row["pa_mpjpe_mm"] == pytest.approx(points.compute()["mean_mm"].item())
    for name, value in overall.items():
        assert value.item() == pytest.approx(sum(row[name] for row in rows) / 2)


def test_a_sequence_without_labels_has_no_position_error() -> None:
    prediction, batch = frames(4)
    metric = SequenceMetrics()
    metric.segments = [range(4)]
    metric.update(prediction, replace(batch, labels=None))
    metric.compute()
    (row,) = metric.table(["x"] * 4)
    assert row["sequence"] == "x"
    assert row["pa_mpjpe_mm"] is None
    assert "acceleration_error_pa_mm_frame2" not in row
    assert row["jitter_root_mm_frame2"] > 0
