"""From configurations to objects, and from checkpoints back to models."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf, open_dict

import s2hand
import s2hand.training.build
from fixtures.runs import fit, last_checkpoint
from s2hand.hand.model_file import load_hand_model, save_hand_model
from s2hand.training.build import load, make_data, make_module
from s2hand.training.checkpoints.reading import (
    CheckpointError,
    HandModelMismatchError,
    read_checkpoint,
)
from s2hand.types import HandBatch


def change(path: Path, target: Path, edit: Any) -> Path:
    """A copy of a checkpoint, edited."""
    checkpoint = read_checkpoint(path)
    edit(checkpoint)
    torch.save(checkpoint, target)
    return target


@pytest.fixture(scope="module")
def checkpoint(smoke_run: Path) -> Path:
    return smoke_run / "checkpoints" / "last.ckpt"


def test_the_losses_get_the_runs_hand(smoke: DictConfig) -> None:
    with open_dict(smoke):
        smoke.loss.joint_angles = {
            "_target_": "s2hand.training.objective.Term",
            "weight": 0.5,
            "fn": {"_target_": "s2hand.loss.pose.JointAngleLimits"},
        }
    module = make_module(smoke)
    assert list(module.objective.losses) == list(smoke.loss)
    method: Any = module.objective.losses["joint_angles"].joint_angles
    assert method.__self__ is module.reconstructor.hand
    assert module.objective.terms["joint_angles"].weight == 0.5


class _WithHand:
    """Takes something that it calls ``hand`` and does not declare."""

    needs_hand = False

    def __init__(self, hand: str = "mine", dataset: Any = None) -> None:
        self.hand, self.inner = hand, dataset


class _DeclaresIt(_WithHand):
    needs_hand = True


def test_the_hand_goes_to_what_declares_it_and_not_to_arguments_of_that_name() -> None:
    hand: Any = object()

    def made(make: Any) -> Any:
        return s2hand.training.build._with_hand(make, hand)()

    assert made(partial(_WithHand)).hand == "mine"
    assert made(_DeclaresIt).hand is hand
    wrapper = made(partial(_WithHand, dataset=partial(partial(_DeclaresIt), dataset=3)))
    assert wrapper.hand == "mine"
    assert (wrapper.inner().hand, wrapper.inner().inner) == (hand, 3)


@pytest.mark.parametrize("loss", [{}, None])
def test_an_empty_loss_list_says_so(smoke: DictConfig, loss: Any) -> None:
    smoke.loss = loss
    with pytest.raises(ValueError, match=r"`loss` list is empty: name at least one"):
        make_module(smoke)
    with open_dict(smoke):
        del smoke.loss  # what the command line's loss=[] leaves
    with pytest.raises(ValueError, match="`loss` list is empty"):
        make_module(smoke)


@pytest.mark.parametrize(
    "where", ["model.network", "model.network.encoder", "model.hand", "model.renderer", "data"]
)
def test_an_unknown_key_fails_with_its_name(smoke: DictConfig, where: str) -> None:
    with open_dict(smoke):
        if where in ("model.hand", "model.renderer"):  # interpolations of the groups
            OmegaConf.update(smoke, where, OmegaConf.select(smoke, where).copy())
        OmegaConf.update(smoke, f"{where}.colour_of_the_sky", "blue", force_add=True)
    with pytest.raises((InstantiationException, TypeError), match="colour_of_the_sky"):
        make_data(smoke, make_module(smoke))


def test_an_unknown_key_of_a_loss_fails_with_its_name(smoke: DictConfig) -> None:
    with open_dict(smoke):
        smoke.loss.shape.fn.wieght = 3
    with pytest.raises(TypeError, match="wieght"):
        make_module(smoke)


def test_features_are_cached_only_while_pixels_do_not_change(smoke: DictConfig) -> None:
    def features(**changes: Any) -> Any:
        cfg = smoke.copy()
        for key, value in changes.items():
            OmegaConf.update(cfg, key, value, force_add=True)
        return make_data(cfg, make_module(cfg)).dataset("val")[0].features

    assert len(features()) == 2
    assert features(**{"model.network.encoder.frozen_stride": 0}) is None
    assert features(**{"data.cache_features": False}) is None
    assert features(augment={"_target_": "s2hand.data.augment.Augment"}) is None


def test_datasets_that_render_get_the_runs_hand(smoke: DictConfig) -> None:
    module = make_module(smoke)
    data = make_data(smoke, module)
    frames: Any = data.dataset("test")
    assert frames.dataset[0].labels is not None
    truth = frames.dataset[0].labels.vertices
    assert truth.shape == (1, 778, 3)


def test_a_loaded_model_predicts_exactly_what_was_trained(smoke: DictConfig) -> None:
    smoke.trainer.max_steps = 2
    module, trainer = fit(smoke)
    batch: HandBatch = next(iter(trainer.datamodule.val_dataloader()))
    module.eval()
    with torch.no_grad():
        expected = module(batch)
        found = s2hand.load(last_checkpoint(smoke))(batch)
    pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
    type(expected).zip([expected, found], lambda both: pairs.append(tuple(both)) or both[0])
    assert len(pairs) > 10
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_loaded_model_is_ready_to_predict(checkpoint: Path) -> None:
    module = load(checkpoint)
    assert not any(part.training for part in module.modules())
    assert module.record["config"] == read_checkpoint(checkpoint)["s2hand"]["config"] | {
        "model": module.record["config"]["model"]
    }


def test_values_of_the_configuration_can_be_replaced(checkpoint: Path) -> None:
    module = load(checkpoint, **{"model.renderer.resolution": 17})
    assert module.reconstructor.renderer.resolution == 17
    with pytest.raises(Exception, match="resolutoin"):
        load(checkpoint, **{"model.renderer.resolutoin": 17})


def test_a_part_that_a_checkpoint_lacks_has_to_be_named(checkpoint: Path, tmp_path: Path) -> None:
    part = "reconstructor.network.keypoints"

    def edit(content: dict[str, Any]) -> None:
        state = content["state_dict"]
        content["state_dict"] = {k: v for k, v in state.items() if not k.startswith(part)}

    path = change(checkpoint, tmp_path / "without.ckpt", edit)
    with pytest.raises(CheckpointError, match=rf"allow_missing=\[{re.escape(part)}\]"):
        load(path)
    module, whole = load(path, allow_missing=[part]), load(checkpoint)
    state = module.state_dict()
    same = {name for name, value in whole.state_dict().items() if torch.equal(value, state[name])}
    assert {name for name in state if not name.startswith(part)} <= same
    with pytest.raises(CheckpointError, match=r"keypoints, which this model does not have"):
        load(checkpoint, **{"model.network.keypoint_net": "none"})


def test_pretrained_weights_are_not_fetched_again(checkpoint: Path, tmp_path: Path) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["s2hand"]["config"]["model"]["network"]["encoder"]["weights"] = "hub"

    load(change(checkpoint, tmp_path / "hub.ckpt", edit))


def test_another_hand_model_is_refused_with_both_names(checkpoint: Path, tmp_path: Path) -> None:
    trained = load_hand_model("open")
    path = tmp_path / "longer.npz"
    save_hand_model(replace(trained, v_template=1.01 * trained.v_template), path)
    used = load_hand_model(path)
    assert trained.fingerprint != used.fingerprint
    with pytest.raises(HandModelMismatchError) as refusal:
        load(checkpoint, hand=path)
    for model in (trained, used):
        assert f"{model.name!r} ({model.fingerprint})" in str(refusal.value)


@pytest.mark.parametrize(
    ("part", "target"),
    [
        ("model", "os.system"),
        ("optim", "s2hand.data.frames.dataset.logging.os.system"),
        ("loss", "s2hand.files.json.write_json"),
        ("data", "subprocess.run"),
    ],
)
def test_a_checkpoint_that_names_foreign_code_runs_nothing(
    checkpoint: Path, tmp_path: Path, part: str, target: str
) -> None:
    trace = tmp_path / "ran"

    def edit(content: dict[str, Any]) -> None:
        call = {"path": str(trace), "value": 1} if "write" in target else {}
        command = {"_args_": [["touch", str(trace)] if "run" in target else f"touch {trace}"]}
        content["s2hand"]["config"][part]["extra"] = {"_target_": target} | (call or command)
        content["state_dict"] = content["optimizer_states"] = {}

    with pytest.raises(CheckpointError, match=re.escape(repr(target))):
        load(change(checkpoint, tmp_path / "bad.ckpt", edit))
    assert not trace.exists()


def test_torch_opens_every_checkpoint_without_pickle(checkpoint: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    assert content["global_step"] == 4
    assert content["s2hand"]["metrics"]["val/pa_mpjpe_mm"] > 0
    assert content["s2hand"]["hand"]["name"] == "open"


def test_no_array_of_the_hand_file_is_in_a_checkpoint(checkpoint: Path) -> None:
    model = load_hand_model("open")
    arrays = [value for value in vars(model).values() if isinstance(value, np.ndarray)]
    shapes = {array.shape for array in arrays if array.size > 100}
    assert (778, 3, 10) in shapes
    assert (1538, 3) in shapes
    state = read_checkpoint(checkpoint)["state_dict"]
    assert not [name for name in state if ".hand." in name]
    assert not {tuple(tensor.shape) for tensor in state.values()} & shapes


def test_importing_the_package_imports_none_of_its_dependencies() -> None:
    code = "import s2hand, sys; print(s2hand.__version__, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [s2hand.__version__, "False"]
    with pytest.raises(AttributeError, match="no attribute 'loda'"):
        s2hand.loda  # noqa: B018


def test_only_a_working_copy_has_a_revision(tmp_path: Path, monkeypatch: Any) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    (tmp_path / "build.py").write_text("pass")
    monkeypatch.setattr(s2hand.training.build, "__file__", str(tmp_path / "build.py"))
    assert s2hand.training.build.git_revision() is None  # no repository
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "somebody's own")
    assert s2hand.training.build.git_revision() is None  # a package installed into a repository
    git("add", "build.py")
    git("commit", "-q", "-m", "the package")
    assert s2hand.training.build.git_revision() == git("rev-parse", "--short", "HEAD")
