"""Several datasets in one run: the order of batches, their samples, joints and losses."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fixtures.frames import PlainFrames
from fixtures.freihand import FreiHandTree
from fixtures.hands import varied_code
from fixtures.ho3d import Ho3dTree
from s2hand.data.mixed import MixedDataModule, MixedLoader
from s2hand.data.module import HandDataModule
from s2hand.data.recorded.freihand import FreiHandDataset
from s2hand.data.recorded.ho3d import Ho3dDataset
from s2hand.data.sampling import round_robin
from s2hand.hand.mano import ManoHead
from s2hand.loss.shape import ScalePrior
from s2hand.types import HandBatch, Prediction

SIZES = {"a": (10, 8, 2), "b": (23, 12, 3), "c": (9, 16, 4)}
"""Parts by name: frames, pixels (which identify the part of a batch), batch size."""
WEIGHTS = {"a": 1, "b": 3, "c": 2}


def modules(**options: Any) -> dict[str, HandDataModule]:
    return {
        name: HandDataModule(
            train=lambda count=count, px=px: PlainFrames(count, px),
            val=lambda px=px: PlainFrames(4, px),
            batch_size=size,
            **options,
        )
        for name, (count, px, size) in SIZES.items()
    }  # fmt: skip


def mixed(weights: dict[str, Any] = WEIGHTS, **options: Any) -> MixedDataModule:
    return MixedDataModule({name: {"data": m} for name, m in modules().items()}, weights, **options)


class Run:
    """A run that has seen ``seen`` batches, one of ``processes``."""

    def __init__(self, seen: int = 0, processes: int = 1, rank: int = 0, workers: int = 0) -> None:
        self.seen = seen
        order = round_robin(list(WEIGHTS.values()))
        parts = modules(num_workers=workers)
        self.loader = MixedLoader(parts, order, lambda: self.seen, processes, rank)

    def take(self, count: int) -> list[tuple[str, tuple[int, ...]]]:
        """The next batches: their parts and samples. Counts the batches seen."""
        by_px = {px: name for name, (_, px, _) in SIZES.items()}
        found: list[tuple[str, tuple[int, ...]]] = []
        while len(found) < count:
            for batch in islice(self.loader, count - len(found)):
                found.append((by_px[batch.image.shape[-1]], tuple(batch.index[:, 0].tolist())))
                self.seen += 1
        return found


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 50))
def test_every_round_holds_each_part_as_often_as_it_weighs(weights: list[int], first: int) -> None:
    order = round_robin(weights) * 52
    window = order[first : first + sum(weights)]
    assert Counter(window) == dict(enumerate(weights))
    assert round_robin((1, 2)) == (1, 0, 1)


def test_every_block_of_a_run_holds_the_fractions_across_epochs() -> None:
    run = Run()
    epoch = len(run.loader)
    assert epoch == 12  # 5 + 7 + 2 batches in whole rounds of 6
    seen = run.take(3 * epoch + 7)
    for first in range(len(seen) - 6):
        assert Counter(part for part, _ in seen[first : first + 6]) == WEIGHTS


def test_each_part_shows_every_sample_before_one_again() -> None:
    seen = Run().take(60)
    for part, (count, _, size) in SIZES.items():
        batches = [samples for owner, samples in seen if owner == part]
        per_pass = count // size
        passes = [batches[k : k + per_pass] for k in range(0, len(batches), per_pass)]
        flat = [[i for samples in once for i in samples] for once in passes]
        assert all(len(set(once)) == len(once) for once in flat)
        assert flat[0] != flat[1], "shuffled anew"


def test_the_order_is_a_function_of_the_seed() -> None:
    assert Run().take(30) == Run().take(30)
    parts = modules(seed=1)
    other = MixedLoader(parts, round_robin(list(WEIGHTS.values())), lambda: 0)
    first = next(iter(other)).index[:, 0].tolist()
    assert first != list(Run().take(1)[0][1])


@given(st.integers(0, 40))
def test_resuming_anywhere_continues_as_if_never_stopped(first: int) -> None:
    assert Run(seen=first).take(8) == Run().take(first + 8)[first:]


def test_workers_load_the_same_batches() -> None:
    assert Run(seen=5, workers=1).take(9) == Run(seen=5).take(9)


def test_processes_take_the_same_part_and_other_samples() -> None:
    ranks = [Run(processes=2, rank=rank) for rank in range(2)]
    assert len(ranks[0].loader) == len(ranks[1].loader) == 6
    first, second = (run.take(24) for run in ranks)
    assert [part for part, _ in first] == [part for part, _ in second]
    for part, (count, _, size) in SIZES.items():
        pairs = [
            one + other
            for (owner, one), (_, other) in zip(first, second, strict=True)
            if owner == part
        ]
        per_pass = count // 2 // size
        once = [i for samples in pairs[:per_pass] for i in samples]
        assert len(set(once)) == len(once), part


def test_validation_and_test_are_those_of_the_named_parts() -> None:
    data = mixed(val="b")
    assert [batch.image.shape[-1] for batch in data.val_dataloader()] == [12, 12]
    assert data.dataset("train").image_px == 8, "for pictures, the first part's"
    with pytest.raises(ValueError, match=r"no part is named for test: set data\.test to one of a"):
        data.test_dataloader()
    assert mixed().val_dataloader() == []


def test_features_are_served_by_the_parts_that_cache_them(caches: Path) -> None:
    parts = modules()
    parts["b"].cache_features = False
    data = MixedDataModule({n: {"data": m} for n, m in parts.items()}, WEIGHTS)
    data.use_features(lambda image: (image[:, :1],), "first channel of mixed")
    for batch in islice(data.train_dataloader(), 6):
        assert (batch.features is None) == (batch.image.shape[-1] == 12)


@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        ({"a": 1, "b": 3}, {}, r"weights name \['a', 'b'\], data\.parts are .*give each part"),
        ({**WEIGHTS, "d": 1}, {}, r"'d'\], data\.parts are \['a', 'b', 'c'\]"),
        ({**WEIGHTS, "b": 0}, {}, r"weights\.b=0: a weight is a whole .* leave it out"),
        ({**WEIGHTS, "b": 0.5}, {}, r"weights\.b=0\.5: a weight is a whole number"),
        ({**WEIGHTS, "b": True}, {}, r"weights\.b=True"),
        (WEIGHTS, {"val": "d"}, r"data\.val=d: the parts are a, b, c"),
        (WEIGHTS, {"test": "a"}, r"data\.test=a: this part has no test set; .* set it to null"),
    ],
)
def test_what_cannot_be_mixed_names_the_remedy(
    weights: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        mixed(weights, **options)


def test_parts_that_are_not_datamodules_name_the_remedy() -> None:
    module = modules()["a"]
    for part in ({"data": module, "weight": 2}, {"dataset": {}}, {"data": None}):
        with pytest.raises(ValueError, match=r"data\.parts\.a holds .*\+data@data\.parts\.a="):
            MixedDataModule({"a": part}, {"a": 1})
    with pytest.raises(ValueError, match=r"data\.parts is empty: add some"):
        MixedDataModule({}, {})
    with pytest.raises(ValueError, match="part 'a' has no training set: leave it out"):
        MixedDataModule({"a": {"data": HandDataModule()}}, {"a": 1})


@pytest.mark.parametrize("processes", [1, 4, 20])
def test_a_part_of_less_than_a_batch_for_each_process_is_refused(processes: int) -> None:
    parts = {
        "a": HandDataModule(train=lambda: PlainFrames(10), batch_size=11 if processes < 2 else 3)
    }
    with pytest.raises(ValueError, match=r"'a' has \d+ samples for each .* lower data\.parts\.a\."):
        MixedLoader(parts, (0,), lambda: 0, processes)


def test_a_perfect_hand_has_no_error_in_any_convention() -> None:
    head, code = ManoHead(), varied_code(2)
    for name in ("freihand", "ho3d", "manopth", "smplx"):
        truth = ManoHead(convention=name)(code).joints
        torch.testing.assert_close(head(code, name).joints, truth, atol=0, rtol=0)
        assert name == "freihand" or not torch.allclose(head(code).joints, truth, atol=1e-4)
    torch.testing.assert_close(head(code, "ho3d").vertices, head(code).vertices, atol=0, rtol=0)


def test_the_scale_term_measures_one_bone_in_every_convention() -> None:
    """Its target is defined for the hand's joints; the chain's bone is another."""
    head, code = ManoHead(), varied_code(1)
    measure, values = ScalePrior(0.02, head), []
    for name in (None, "freihand", "ho3d"):
        hand = head(code, name)
        batch = HandBatch.stack([PlainFrames(1)[0]])
        prediction = Prediction(hand, hand.joints[..., :2])
        values.append(float(measure(prediction, replace(batch, convention=name))))
    assert values == [pytest.approx(values[0])] * 3
    blind = float(ScalePrior(0.02)(prediction, batch))
    assert blind != pytest.approx(values[0], rel=0.01)


def test_samples_of_two_conventions_do_not_join(freihand: FreiHandTree, ho3d: Ho3dTree) -> None:
    images = FreiHandDataset(freihand.root, freihand.training_detections)
    videos = Ho3dDataset(ho3d.root, ho3d.detections, image_px=224)
    assert (images[0].convention, videos[0].convention) == ("freihand", "ho3d")
    with pytest.raises(ValueError, match="constants differ"):
        HandBatch.stack([images[0], videos[0]])
