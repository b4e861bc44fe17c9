"""Class paths that older checkpoints and recorded runs hold, and where the classes are now."""

from __future__ import annotations

from typing import Any

RENAMED_MODULES = {
    "s2hand.loss.mesh": "s2hand.loss.laplacian",
}
"""Modules that a configuration of an earlier version names, by their path then: their path now."""


def current_names(value: Any) -> Any:
    """``value`` with every class path in it that :data:`RENAMED_MODULES` knows brought up to date.

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
        module, _, name = value.rpartition(".")
        return f"{RENAMED_MODULES[module]}.{name}" if module in RENAMED_MODULES else value
    return value
