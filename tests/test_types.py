"""Trees of tensors: every leaf is reached, constants are kept, mistakes are refused."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.utils.data import DataLoader

from s2hand.types import Camera, HandBatch, Labels


def sample(value: float, t: int = 2, labels: bool = True, crop_px: int = 224) -> HandBatch:
    """One clip without a batch dimension, as a dataset returns it."""
    truth = Labels(torch.full((t, 21, 3), value), torch.full((t, 778, 3), value))
    return HandBatch(
        image=torch.full((t, 3, 8, 8), value),
        keypoints=torch.full((t, 21, 2), value),
        confidence=torch.full((t, 21), value),
        camera=Camera(torch.full((t, 3, 3), value), crop_px),
        index=torch.arange(t),
        features=(torch.full((t, 4, 2, 2), value), torch.full((t, 8, 1, 1), value)),
        labels=truth if labels else None,
    )


def leaves(batch: HandBatch) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    batch.map(lambda x: found.append(x) or x)  # type: ignore[func-returns-value]
    return found


def test_map_reaches_every_tensor_and_keeps_the_rest() -> None:
    doubled = sample(1.0).map(lambda x: 2 * x)
    assert len(leaves(doubled)) == 9
    assert all((x == 2).all() for x in leaves(doubled) if x.is_floating_point())
    assert doubled.camera.crop_px == 224
    assert sample(1.0, labels=False).map(lambda x: 2 * x).labels is None


def test_stack_makes_a_batch_and_indexing_takes_it_apart() -> None:
    batch = HandBatch.stack([sample(1.0), sample(2.0), sample(3.0)])
    assert batch.image.shape == (3, 2, 3, 8, 8)
    assert isinstance(batch.labels, Labels)
    assert batch.labels.vertices.shape == (3, 2, 778, 3)
    assert batch.features is not None
    assert [x.shape[:2] for x in batch.features] == [(3, 2), (3, 2)]
    assert torch.equal(batch[1].camera.intrinsics, sample(2.0).camera.intrinsics)
    assert batch[:, :1].keypoints.shape == (3, 1, 21, 2)


def test_stack_is_a_collate_function() -> None:
    loader = DataLoader(
        [sample(float(i)) for i in range(4)],  # type: ignore[arg-type]
        batch_size=2,
        collate_fn=HandBatch.stack,
    )
    assert [batch.confidence[:, 0, 0].tolist() for batch in loader] == [[0, 1], [2, 3]]


def test_cat_joins_frames_into_a_window() -> None:
    window = HandBatch.cat([sample(1.0, 1), sample(2.0, 3)])
    assert window.image[:, 0, 0, 0].tolist() == [1, 2, 2, 2]
    assert window.camera.intrinsics.shape == (4, 3, 3)


def test_samples_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match=r"constants differ: 224 and \[224, 128\]"):
        HandBatch.stack([sample(1.0), sample(1.0, crop_px=128)])
    with pytest.raises(ValueError, match="constants differ"):
        HandBatch.stack([sample(1.0, labels=False), sample(1.0)])


def test_fold_and_unfold_are_inverse() -> None:
    batch = HandBatch.stack([sample(float(i), t=3) for i in range(2)])
    folded = batch.fold()
    assert folded.image.shape == (6, 3, 8, 8)
    assert folded.index.tolist() == [0, 1, 2, 0, 1, 2]
    assert all(
        torch.equal(a, b) for a, b in zip(leaves(folded.unfold(2, 3)), leaves(batch), strict=True)
    )


def test_to_and_detach() -> None:
    moved = sample(1.0).to(torch.float64)
    assert moved.camera.intrinsics.dtype == torch.float64
    leaf = torch.ones(1, 3, 3, requires_grad=True)
    assert not Camera(2 * leaf).detach().intrinsics.requires_grad


def test_unlabelled_hides_the_labels_only() -> None:
    batch = sample(1.0)
    hidden = batch.unlabelled()
    assert hidden.labels is None
    assert hidden.image is batch.image
    assert batch.labels is not None


def test_fields_cannot_be_replaced_in_place() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        sample(1.0).image = torch.zeros(1)  # type: ignore[misc]
