"""Class paths in older checkpoints and recorded runs, and the paths of today."""

from __future__ import annotations

from typing import Any

RENAMED_MODULES = {
    "s2hand.loss.mesh": "s2hand.loss.laplacian",
    "s2hand.data.frames": "s2hand.data.frames.dataset",
    "s2hand.data.packed": "s2hand.data.shards.packed",
    "s2hand.data.synthetic": "s2hand.data.synthetic.images",
    "s2hand.data.synthetic_sequences": "s2hand.data.synthetic.sequences",
    "s2hand.data.dexycb": "s2hand.data.recorded.dexycb",
    "s2hand.data.freihand": "s2hand.data.recorded.freihand",
    "s2hand.data.hanco": "s2hand.data.recorded.hanco",
    "s2hand.data.ho3d": "s2hand.data.recorded.ho3d",
    "s2hand.data.interhand": "s2hand.data.recorded.interhand",
    "s2hand.data.rhd": "s2hand.data.recorded.rhd",
    "s2hand.data.stb": "s2hand.data.recorded.stb",
    "s2hand.data.youtube": "s2hand.data.recorded.youtube",
    "s2hand.objective": "s2hand.training.objective",
    "s2hand.schedule": "s2hand.training.schedule",
    "s2hand.distributed": "s2hand.training.distributed",
    "s2hand.callbacks": "s2hand.training.callbacks",
    "s2hand.dashboard": "s2hand.training.loggers.dashboard",
    "s2hand.metrics_csv": "s2hand.training.loggers.metrics_csv",
    "s2hand.telemetry": "s2hand.training.loggers.telemetry",
    "s2hand.adaptation": "s2hand.fitting.stopping",
    "s2hand.cli.prediction.clip": "s2hand.prediction.clip",
    "s2hand.cli.sweeps.failures": "s2hand.studies.failures",
}
"""Modules that configurations of earlier versions name: old path to new path."""
RENAMED_CLASSES = {
    "s2hand.callbacks.LastCheckpoint": "s2hand.training.checkpoints.writing.LastCheckpoint",
}
"""Classes that did not move with the rest of their module: old path to new path."""


def current_names(value: Any) -> Any:
    """``value`` with every class path of an earlier version replaced by the path of today.

    Args:
        value: nested mappings and lists of plain values, such as a recorded configuration.

    Example:
        >>> current_names({"_target_": "s2hand.loss.mesh.LaplacianSmoothness"})
        {'_target_': 's2hand.loss.laplacian.LaplacianSmoothness'}
    """
    if isinstance(value, dict):
        return {key: current_names(item) for key, item in value.items()}
    if isinstance(value, list):
        return [current_names(item) for item in value]
    if isinstance(value, str):
        if value in RENAMED_CLASSES:
            return RENAMED_CLASSES[value]
        module, _, name = value.rpartition(".")
        return f"{RENAMED_MODULES[module]}.{name}" if module in RENAMED_MODULES else value
    return value
