from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from s2hand.loss.base import Loss
from s2hand.loss.bones import BoneOrientation
from s2hand.loss.consistency2d import Consistency2D
from s2hand.loss.keypoints import JointLocation
from s2hand.loss.photometric import MeanColour, Photometric, StructuralSimilarity
from s2hand.loss.shape import ShapePrior
from s2hand.loss.supervised import JointsSupervised
from s2hand.training.objective import NonFiniteLossError, Objective, Term
from s2hand.types import Camera, Hand, HandBatch, HandCode, Labels, Prediction, Render


def make_sample(b: int = 2, t: int = 1) -> tuple[Prediction, HandBatch]:
    def rand(*shape: int) -> torch.Tensor:
        return torch.rand(b, t, *shape, generator=generator)

    generator = torch.Generator().manual_seed(0)
    code = HandCode(
        rand(30), rand(10), rand(1), rand(3), rand(3), texture=rand(778, 3), light=rand(11)
    )
    hand = Hand(code, rand(778, 3), rand(21, 3), rand(16, 4))
    render = Render(rand(3, 8, 8), rand(8, 8), rand(8, 8))
    prediction = Prediction(hand, 224 * rand(21, 2), (224 * rand(21, 2),), render)
    batch = HandBatch(
        image=rand(3, 16, 16),
        keypoints=224 * rand(21, 2),
        confidence=0.2 + 0.8 * rand(21),
        camera=Camera(torch.eye(3).expand(b, t, 3, 3)),
        index=100 + torch.arange(b * t).reshape(b, t),
        labels=Labels(rand(21, 3), rand(778, 3)),
    )
    return prediction, batch


class Spy(Loss):
    """Keeps the batch it was given and answers a fixed value."""

    def __init__(self, value: float = 1.0) -> None:
        super().__init__()
        self.value, self.seen = value, None

    def forward(self, prediction, batch):
        self.seen = batch
        return prediction.joints_2d.sum() * 0 + self.value


class LabelSpy(Spy):
    needs_labels = True


class ClipSpy(Spy):
    min_frames = 3


def test_total_is_the_weighted_sum_of_the_raw_terms():
    prediction, batch = make_sample()
    prediction = replace(prediction, joints_2d=prediction.joints_2d.requires_grad_())
    terms = {"joints": Term(JointLocation(), 1e-3), "bones": Term(BoneOrientation(), 0.1)}
    report = Objective(terms)(prediction, batch)
    assert list(report.raw) == ["joints", "bones"]
    for name, term in terms.items():
        torch.testing.assert_close(report.raw[name], term.fn(prediction, batch).detach())
        assert not report.raw[name].requires_grad
    expected = 1e-3 * report.raw["joints"] + 0.1 * report.raw["bones"]
    torch.testing.assert_close(report.total.detach(), expected)
    report.total.backward()
    assert prediction.joints_2d.grad.abs().sum() > 0


def test_only_terms_that_declare_it_see_labels():
    blind, seeing = Spy(), LabelSpy()
    prediction, batch = make_sample()
    Objective({"blind": Term(blind, 1), "seeing": Term(seeing, 1)})(prediction, batch)
    assert blind.seen.labels is None
    assert seeing.seen.labels is batch.labels


def test_says_what_it_needs():
    plain = Objective({"a": Term(JointLocation(), 1)})
    assert not plain.needs_render
    assert not plain.needs_estimate
    assert Objective({"a": Term(JointLocation(), 1), "b": Term(Photometric(), 1)}).needs_render
    assert Objective({"a": Term(Consistency2D(), 1)}).needs_estimate


@pytest.mark.parametrize("weight", [0, -1.0, float("nan"), float("inf")])
def test_a_term_is_switched_off_by_leaving_it_out(weight):
    with pytest.raises(ValueError, match="remove it from the `loss` list") as error:
        Term(ShapePrior(), weight)
    assert "ShapePrior" in str(error.value)


def test_an_empty_objective_is_refused():
    with pytest.raises(ValueError, match="at least one term"):
        Objective({})


def test_a_missing_render_is_named():
    prediction, batch = make_sample()
    with pytest.raises(ValueError, match=r"'pixels' compares pixels.*render=True"):
        Objective({"pixels": Term(Photometric(), 1)})(replace(prediction, render=None), batch)


def test_a_missing_estimator_is_named():
    prediction, batch = make_sample()
    prediction = replace(prediction, estimated_joints_2d=())
    with pytest.raises(
        ValueError, match=r"'both' reads a 2D estimator.*model\.network\.keypoint_net"
    ):
        Objective({"both": Term(Consistency2D(), 1)})(prediction, batch)


def test_remedies_name_keys_that_exist():
    conf = Path(__file__).parents[2] / "conf"
    for model in (conf / "model").glob("*.yaml"):
        assert "keypoint_net" in OmegaConf.load(model).network
    assert OmegaConf.load(conf / "window" / "clip5.yaml").frames == 5


def test_missing_labels_are_named():
    prediction, batch = make_sample()
    with pytest.raises(ValueError, match="'truth' reads 3D labels"):
        Objective({"truth": Term(JointsSupervised(), 1)})(prediction, batch.unlabelled())


def test_a_window_too_short_is_named():
    prediction, batch = make_sample(t=2)
    objective = Objective({"motion": Term(ClipSpy(), 1)})
    with pytest.raises(ValueError, match=r"'motion' compares at least 3 frames.*window=clip5"):
        objective(prediction, batch)
    objective(*make_sample(t=3))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_term_that_is_not_finite_stops_and_names_itself(value):
    prediction, batch = make_sample()
    objective = Objective({"fine": Term(Spy(), 1), "broken": Term(Spy(value), 1)})
    with pytest.raises(NonFiniteLossError, match=r"'broken' is (nan|inf) .*\[100, 101\]") as caught:
        objective(prediction, batch)
    error = caught.value
    assert error.term == "broken"
    assert error.indices == [100, 101]
    assert str(pickle.loads(pickle.dumps(error))) == str(error), "workers send it by pickle"


def test_share_of_images_with_a_photometric_weight_is_reported():
    prediction, batch = make_sample(b=4)
    batch.confidence[1, 0, 3] = 0.05
    report = Objective({"pixels": Term(Photometric(), 1)})(prediction, batch)
    assert report.diagnostics["pixels/active_share"].item() == pytest.approx(0.75)


def test_the_image_is_resized_once_for_all_terms(monkeypatch):
    calls = []
    resize = torch.nn.functional.interpolate
    monkeypatch.setattr(
        torch.nn.functional, "interpolate", lambda *a, **k: (calls.append(1), resize(*a, **k))[1]
    )
    prediction, batch = make_sample()
    losses = {"l1": Photometric(), "mean": MeanColour(), "ssim": StructuralSimilarity()}
    report = Objective({name: Term(loss, 1) for name, loss in losses.items()})(prediction, batch)
    assert len(calls) == 1
    for name, loss in losses.items():
        torch.testing.assert_close(report.raw[name], loss(prediction, batch))


def test_without_pixel_terms_the_image_stays():
    spy = Spy()
    prediction, batch = make_sample()
    Objective({"spy": Term(spy, 1)})(prediction, batch)
    assert spy.seen.image is batch.image


def test_runs_in_full_precision_under_autocast():
    prediction, batch = make_sample()
    objective = Objective({"ssim": Term(StructuralSimilarity(), 1)})
    expected = objective(prediction, batch).total
    with torch.autocast("cpu", torch.bfloat16):
        actual = objective(prediction, batch).total
    assert torch.equal(actual, expected)


def test_leaves_nothing_in_a_checkpoint_and_moves():
    objective = Objective({"joints": Term(JointLocation(), 1)})
    assert not objective.state_dict()
    assert objective.double().losses["joints"].importance.dtype == torch.float64


def test_per_frame_leaves_out_what_compares_frames_or_reads_labels() -> None:
    class Temporal(Loss):
        min_frames = 3

        def forward(self, prediction: Prediction, batch: HandBatch) -> torch.Tensor:
            return prediction.joints_2d.sum()

    class Labelled(Temporal):
        min_frames = 1
        needs_labels = True

    class Plain(Temporal):
        min_frames = 1

    terms = {"temporal": Temporal(), "labelled": Labelled(), "plain": Plain()}
    objective = Objective({name: Term(loss, 0.5) for name, loss in terms.items()})
    single = objective.per_frame()
    assert list(single.losses) == ["plain"]
    assert single.terms["plain"].weight == 0.5
