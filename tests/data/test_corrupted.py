"""Corrupted detections: the same on every visit, nested over levels; the rest stays."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fixtures.frames import PlainFrames
from s2hand.data.corrupted import CorruptedDetections
from s2hand.types import HandBatch, Labels

FRAMES = 40


class Detected(PlainFrames):
    """Frames whose keypoint 5 was not detected; its value is meaningless."""

    def __getitem__(self, index: int) -> HandBatch:
        """A frame with its labels and detections."""
        generator = torch.Generator().manual_seed(index)
        frame = super().__getitem__(index)
        confidence = torch.rand(1, 21, generator=generator) * 0.9 + 0.1
        confidence[0, 5] = 0
        return replace(
            frame,
            keypoints=200 * torch.rand(1, 21, 2, generator=generator) + 10,
            confidence=confidence,
            labels=Labels(torch.ones(1, 21, 3), torch.ones(1, 778, 3)),
        )


def frames() -> Detected:
    return Detected(FRAMES)


def every(dataset: CorruptedDetections | Detected) -> HandBatch:
    return HandBatch.stack([dataset[i] for i in range(len(dataset))])


def test_level_zero_is_the_dataset_itself() -> None:
    plain, corrupted = every(frames()), every(CorruptedDetections(frames))
    assert torch.equal(corrupted.keypoints, plain.keypoints)
    assert torch.equal(corrupted.confidence, plain.confidence)


def test_a_frame_is_corrupted_equally_in_any_order_and_process() -> None:
    first = every(CorruptedDetections(frames, noise_px=3, drop=0.4))
    again = CorruptedDetections(frames, noise_px=3, drop=0.4)
    for index in (17, 3, 17, 39):
        assert torch.equal(again[index].keypoints, first.keypoints[index])
        assert torch.equal(again[index].confidence, first.confidence[index])


def test_frames_and_seeds_differ() -> None:
    plain = every(frames()).keypoints
    one, two = (
        every(CorruptedDetections(frames, noise_px=3, seed=s)).keypoints - plain for s in (0, 1)
    )
    assert not torch.allclose(one[0], one[1], atol=0.1)
    assert not torch.allclose(one, two, atol=0.1)


def test_noise_has_the_given_size_and_confidences_stay() -> None:
    plain, corrupted = every(frames()), every(CorruptedDetections(frames, noise_px=4))
    found = plain.confidence > 0
    moved = (corrupted.keypoints - plain.keypoints)[found]
    assert len(moved) == FRAMES * 20
    # 1600 numbers: the error of the mean is 0.1, of the deviation 0.07.
    assert abs(float(moved.mean())) < 0.4
    assert float(moved.std()) == pytest.approx(4, abs=0.3)
    assert torch.equal(corrupted.confidence, plain.confidence)
    assert torch.equal(corrupted.keypoints[~found], plain.keypoints[~found])


def test_lost_joints_have_confidence_zero_and_the_others_are_as_they_were() -> None:
    plain, corrupted = every(frames()), every(CorruptedDetections(frames, drop=0.3))
    lost = (corrupted.confidence == 0) & (plain.confidence > 0)
    assert float(lost.sum()) / (FRAMES * 20) == pytest.approx(0.3, abs=0.05)
    assert (corrupted.keypoints[lost] == 0).all()
    assert torch.equal(corrupted.keypoints[~lost], plain.keypoints[~lost])
    assert torch.equal(corrupted.confidence[~lost], plain.confidence[~lost])
    assert (every(CorruptedDetections(frames, drop=1.0)).confidence == 0).all()


def test_levels_are_nested() -> None:
    plain = every(frames())
    some, more = (every(CorruptedDetections(frames, drop=p)).confidence for p in (0.2, 0.6))
    assert ((some == 0) <= (more == 0)).all()
    one, two = (
        every(CorruptedDetections(frames, noise_px=s)).keypoints - plain.keypoints for s in (2, 6)
    )
    torch.testing.assert_close(two, 3 * one, atol=1e-3, rtol=1e-3)


def test_everything_else_stays() -> None:
    plain, corrupted = frames(), CorruptedDetections(frames, noise_px=5, drop=0.5)
    assert len(corrupted) == FRAMES
    assert list(corrupted.names) == list(plain.names)
    assert corrupted.segments() == plain.segments()
    assert corrupted.recording(3) == plain.recording(3)
    assert corrupted.content_key == plain.content_key, "features of its pictures stay true"
    one, other = corrupted[7], plain[7]
    for name in ("image", "index"):
        assert torch.equal(getattr(one, name), getattr(other, name))
    assert torch.equal(one.camera.intrinsics, other.camera.intrinsics)
    assert one.labels is not None
    assert other.labels is not None
    assert torch.equal(one.labels.joints, other.labels.joints)


@pytest.mark.parametrize("level", [{"noise_px": -1}, {"drop": 1.2}, {"noise_px": float("nan")}])
def test_levels_out_of_range_are_refused(level: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"noise_px=.*drop="):
        CorruptedDetections(frames, **level)
