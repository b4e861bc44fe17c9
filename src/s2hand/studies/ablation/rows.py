"""Rows of an ablation: their settings, and the losses under them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib.resources import files
from typing import Any

from hydra.utils import get_class
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError

from s2hand.loss.names import known_losses


@dataclass
class Finetune:
    """Fine-tune the checkpoint before measuring, as ``s2hand-train init_from=`` does."""

    steps: int = 200
    loss: dict[str, float | None] = field(default_factory=dict)
    """Weights by name of loss; null removes a loss, a new name adds one."""


@dataclass
class Change:
    """A row of an ablation: the changes to the checkpoint, applied together."""

    branch_2d: bool = True
    """False removes the network's 2D estimator and the losses that read it."""
    hand: str | None = None
    """Another hand model file; the test data remain those of the checkpoint's hand."""
    allow_other_hand: bool = False
    """Measure another hand although the codes of one hand do not transfer to another."""
    data: list[str] = field(default_factory=list)
    """Overrides of ``s2hand-evaluate``: ``data=freihand``, ``+data.test.size=64``."""
    noise_px: float = 0.0
    """Noise of the detections: :class:`s2hand.data.corrupted.CorruptedDetections`."""
    drop: float = 0.0
    refine_steps: int = 0
    """Steps of test-time refinement of every frame's code, as in ``s2hand-predict``."""
    finetune: Finetune | None = None

    def words(self) -> str:
        """A description of the change on one line."""
        parts = ["without the 2D branch"] * (not self.branch_2d)
        parts += [f"hand {self.hand}"] * (self.hand is not None)
        parts += [" ".join(self.data)] * bool(self.data)
        parts += [f"detections + {self.noise_px:g} px"] * (self.noise_px > 0)
        parts += [f"{100 * self.drop:g} % of detections lost"] * (self.drop > 0)
        if self.finetune is not None:
            parts.append(f"{self.finetune.steps} more steps")
            changed = self.finetune.loss.items()
            parts += [f"no {name}" if w is None else f"{name} {w:g}" for name, w in changed]
        parts += [f"refined, {self.refine_steps} steps"] * (self.refine_steps > 0)
        return "; ".join(parts) or "as it is"


_KEYS = tuple(field.name for field in fields(Change))
ROW_KEYS = {
    "ablation.*": _KEYS,
    "ablation.*.finetune": tuple(field.name for field in fields(Finetune)),
}
"""Settings of a row and of its fine-tune; a row names only those it changes."""


def read_changes(rows: Any, known: Any) -> dict[str, Change]:
    """The chosen rows of the configuration, by name.

    Raises:
        ValueError: a row is unknown or named twice, or changes an unknown setting.
    """
    names = [str(name) for name in rows]
    changes: dict[str, Change] = {}
    for name in names:
        if name not in known:
            raise ValueError(
                f"rows: no row named {name!r}; there are {', '.join(map(str, known))}; define it "
                f"as '+ablation.{name}={{...}}'"
            )
        if name in changes or not name.replace("_", "").replace("-", "").replace(".", "").isalnum():
            raise ValueError(
                f"rows: {name!r} is named twice, or is not a folder name (letters, digits, _.-)"
            )
        changes[name] = _read_change(name, known[name])
    if not changes:
        raise ValueError("rows is empty: name at least one, e.g. rows=[full]")
    return changes


def _read_change(name: str, given: Any) -> Change:
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Change), given or {})
        change = OmegaConf.to_object(merged)
    except ConfigKeyError as error:
        has = ROW_KEYS["ablation.*.finetune" if "." in str(error.full_key) else "ablation.*"]
        raise ValueError(
            f"ablation.{name}.{error.full_key}: no such setting; there are {', '.join(has)}"
        ) from error
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"ablation.{name}: {reason}; a row has {', '.join(_KEYS)}") from error
    assert isinstance(change, Change)
    problem = None
    if change.refine_steps < 0:
        problem = f"refine_steps={change.refine_steps}: 0 or more"
    elif change.finetune is not None and change.finetune.steps < 1:
        problem = f"finetune.steps={change.finetune.steps}: 1 or more"
    elif change.finetune is not None and change.hand is not None:
        problem = "a fine-tune keeps the checkpoint's hand: leave out hand or finetune"
    if problem:
        raise ValueError(f"ablation.{name}: {problem}")
    return change


def changed_losses(
    loss: Mapping[str, Any], change: Change, scale_target_m: float
) -> dict[str, Any]:
    """The configuration of a row's losses: ``loss`` with the row's removals and additions.

    Raises:
        ValueError: the row removes a loss that is not there, or adds an unknown one.
    """
    terms = copy.deepcopy(dict(loss))
    for name, weight in (change.finetune.loss if change.finetune else {}).items():
        if weight is None and name not in terms:
            raise ValueError(
                f"finetune.loss.{name}=null: the checkpoint was trained without it; its losses are "
                f"{', '.join(terms)}"
            )
        if weight is None:
            del terms[name]
            continue
        if name not in terms:
            terms[name] = _new_loss(name, scale_target_m)
        terms[name]["weight"] = weight
    if not change.branch_2d:
        losses: dict[str, Any] = {n: get_class(t["fn"]["_target_"]) for n, t in terms.items()}
        terms = {name: term for name, term in terms.items() if not losses[name].needs_estimate}
    return terms


def _new_loss(name: str, scale_target_m: float) -> dict[str, Any]:
    """The configuration of a loss from its file in conf/loss."""
    if name not in known_losses():
        raise ValueError(f"no loss named {name!r}; there are {', '.join(known_losses())}")
    text = (files("s2hand.conf") / "loss" / f"{name}.yaml").read_text(encoding="utf-8")
    cfg = OmegaConf.merge(OmegaConf.create(text), {"scale_target_m": scale_target_m})
    content = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(content, dict)
    term: dict[str, Any] = content[name]
    return term
