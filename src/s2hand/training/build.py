"""From configuration to objects, and from a checkpoint back to a model."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import hydra
import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from s2hand.data.module import HandDataModule
from s2hand.hand.mano import ManoHead
from s2hand.model.reconstructor import Reconstructor
from s2hand.training.checkpoints.reading import (
    check_hand,
    check_targets,
    load_weights,
    read_checkpoint,
)
from s2hand.training.checkpoints.writing import CheckpointFiles
from s2hand.training.module import S2Hand, S2HandVideo
from s2hand.training.objective import Objective, Term

RECORDED = ("model", "loss", "optim", "data")
"""Parts of a configuration that a checkpoint records: enough to rebuild, fine-tune and evaluate."""


def make_reconstructor(cfg: DictConfig) -> Reconstructor:
    """Build ``cfg.model``, with its hand and its renderer."""
    reconstructor: Reconstructor = hydra.utils.instantiate(cfg.model, _convert_="all")
    return reconstructor


def make_objective(cfg: DictConfig, reconstructor: Reconstructor) -> Objective:
    """The terms of ``cfg.loss``; losses with ``needs_hand`` get the reconstructor's hand."""
    if not cfg.get("loss"):
        raise ValueError("the `loss` list is empty: name at least one, e.g. loss=[joint_location]")
    terms: dict[str, Term] = {}
    for name, term in cfg.loss.items():
        fn = _with_hand(hydra.utils.get_class(term.fn._target_), reconstructor.hand)
        options = {key: value for key, value in term.fn.items() if key != "_target_"}
        terms[str(name)] = Term(fn(**options), term.weight)
    return Objective(terms)


def _with_hand(make: Callable[..., Any], hand: ManoHead) -> Callable[..., Any]:
    """``make`` with ``hand`` bound, if its class declares ``needs_hand``; likewise its arguments.

    Args:
        make: a class of losses or datasets, or a partial of one; the arguments of a partial may be
            partials of other datasets.
        hand: the run's hand model.
    """
    if isinstance(make, partial):
        inner = {k: _with_hand(v, hand) for k, v in make.keywords.items() if isinstance(v, partial)}
        make = partial(make, **inner)
    made: Any = make
    while isinstance(made, partial):
        made = made.func
    return partial(make, hand=hand) if getattr(made, "needs_hand", False) else make


def make_module(cfg: DictConfig) -> S2Hand:
    """The LightningModule of a configuration: S2HAND(V) if a loss compares frames, else S2HAND."""
    reconstructor = make_reconstructor(cfg)
    objective = make_objective(cfg, reconstructor)
    augment = cfg.get("augment")
    module = S2HandVideo if objective.is_temporal else S2Hand
    return module(
        reconstructor,
        objective,
        optimizer=hydra.utils.instantiate(cfg.optim.optimizer, _convert_="all"),
        schedule=hydra.utils.instantiate(cfg.optim.schedule, _convert_="all"),
        augment=hydra.utils.instantiate(augment, _convert_="all") if augment else None,
        record={"config": recorded_config(cfg), "revision": git_revision()},
    )


def make_data(cfg: DictConfig, module: S2Hand) -> HandDataModule:
    """The datamodule, with cached features if the encoder is frozen and pixels do not change."""
    data = make_frames(cfg, module.reconstructor.hand)
    encoder = module.reconstructor.network.encoder
    keeps_pixels = module.augment is None or not module.augment.changes_pixels
    if encoder.frozen_stride and keeps_pixels:
        data.use_features(encoder.frozen_maps, encoder.frozen_key)
    return data


def make_frames(cfg: DictConfig, hand: ManoHead) -> HandDataModule:
    """The datamodule without cached features; datasets with ``needs_hand`` get ``hand``."""
    data: HandDataModule = hydra.utils.instantiate(cfg.data, _convert_="all")
    data.map_makers(partial(_with_hand, hand=hand))
    return data


def make_trainer(cfg: DictConfig) -> pl.Trainer:
    """The trainer with the configured callbacks and loggers; loggers record the configuration."""
    callbacks = [hydra.utils.instantiate(c) for c in (cfg.callbacks or {}).values() if c]
    loggers = [hydra.utils.instantiate(c) for c in (cfg.logger or {}).values() if c]
    plugins = [hydra.utils.instantiate(plugin) for plugin in cfg.trainer.get("plugins", ())]
    trainer: pl.Trainer = hydra.utils.instantiate(
        cfg.trainer,
        callbacks=callbacks,
        logger=loggers or False,
        plugins=[CheckpointFiles(), *plugins],
    )
    if trainer.world_size > 1 and _is_sweep():
        raise ValueError(
            f"-m with {trainer.world_size} processes per job: every process would run the whole "
            "sweep. Give each job one device (trainer=gpu or trainer=cpu) and let a launcher run "
            "several jobs at a time, or call the command once per job without -m"
        )
    for logger in trainer.loggers:
        logger.log_hyperparams(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]
    return trainer


def _is_sweep() -> bool:
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def initialise(module: S2Hand, path: str, allow_missing: Sequence[str] = ()) -> None:
    """Copy the weights of a checkpoint of the same hand model: see :func:`load_weights`."""
    checkpoint = read_checkpoint(path)
    check_hand(checkpoint, module.reconstructor.hand.name, module.reconstructor.hand.fingerprint)
    load_weights(module, checkpoint, path, allow_missing)


def recorded_config(cfg: DictConfig) -> dict[str, Any]:
    """The parts of a configuration that a checkpoint records, resolved to plain values."""
    resolved = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(resolved, dict)
    return {key: resolved[key] for key in RECORDED}


def git_revision() -> str | None:
    """The git revision of the working copy, or None if the package is not run from one.

    A package installed inside another repository is not a working copy: git does not track it.
    """
    here = Path(__file__)
    try:
        for command in (
            ["ls-files", "--error-unmatch", here.name],
            ["rev-parse", "--short", "HEAD"],
        ):
            done = subprocess.run(
                ["git", "-C", str(here.parent), *command],
                capture_output=True, text=True, timeout=5, check=True,
            )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def configured(
    checkpoint: dict[str, Any], path: str | Path, hand: str | Path | None = None
) -> DictConfig:
    """The configuration recorded in a checkpoint, ready to rebuild its model.

    Args:
        checkpoint: read from ``path`` by :func:`read_checkpoint`.
        path: the checkpoint's file, for error messages.
        hand: path of the hand model file on this machine, if it differs from training.

    Raises:
        CheckpointError: the configuration names foreign code.
    """
    config = checkpoint["s2hand"]["config"]
    check_targets(config, path)
    cfg: DictConfig = OmegaConf.create(config)
    cfg.model.network.encoder.weights = "none"  # they are in the state dict
    if hand is not None:
        cfg.model.hand.model = str(hand)
    return cfg


def load(
    path: str | Path,
    hand: str | Path | None = None,
    allow_missing: Sequence[str] = (),
    **overrides: Any,
) -> S2Hand:
    """Rebuild the model of a checkpoint, in evaluation mode.

    Args:
        path: a checkpoint written by ``s2hand-train``, or a name such as ``pretrained``
            (:func:`s2hand.training.checkpoints.reading.checkpoint_file`).
        hand: path of the hand model file on this machine, if it differs from training.
        allow_missing: dotted names of parts that the checkpoint may lack; they are initialised
            anew. All other weights must be in the checkpoint.
        overrides: values of its configuration by dotted key, such as
            ``**{"model.renderer.backend": "cpu"}``.

    Raises:
        CheckpointError: see :func:`read_checkpoint` and :func:`load_weights`; or the recorded
            configuration names foreign code.
        HandModelMismatchError: ``hand`` is not the model that the checkpoint was trained on.

    Example:
        >>> import s2hand
        >>> from s2hand.data.synthetic.images import SyntheticHands
        >>> from s2hand.types import HandBatch
        >>> model = s2hand.load("pretrained")
        >>> hand, renderer = model.reconstructor.hand, model.reconstructor.renderer
        >>> images = SyntheticHands(hand, renderer, "test", size=1, image_px=64, cache=False)
        >>> prediction = model(HandBatch.stack([images[0]]), render=False)
        >>> prediction.hand.vertices.shape  # batch, frames, vertices, metres
        torch.Size([1, 1, 778, 3])
    """
    checkpoint = read_checkpoint(path)
    cfg = configured(checkpoint, path, hand)
    OmegaConf.set_struct(cfg, True)  # an unknown key fails
    for key, value in overrides.items():
        OmegaConf.update(cfg, key, value, force_add=False)
    module = make_module(cfg)
    check_hand(checkpoint, module.reconstructor.hand.name, module.reconstructor.hand.fingerprint)
    load_weights(module, checkpoint, path, allow_missing)
    return module.eval()
