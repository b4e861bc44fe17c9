"""Jobs of sweeps: their folders, and presets whose plugin is an optional extra.

A preset is a file in conf/hydra/launcher or conf/hydra/sweeper. It names its plugin only by
``_target_``, so configurations compose without the plugin. Its name differs from the plugin's own
choice, which Hydra would use as its schema.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from omegaconf import OmegaConf

LONGEST_NAME = 200
"""Characters of a job's folder name; file systems allow 255 bytes, suffixes included."""
PLUGINS = {
    "joblib": ("hydra_plugins.hydra_joblib_launcher", "sweep-joblib"),
    "slurm": ("hydra_plugins.hydra_submitit_launcher", "sweep-submitit"),
    "submitit": ("hydra_plugins.hydra_submitit_launcher", "sweep-submitit"),
    "ray": ("hydra_plugins.hydra_ray_launcher", "sweep-ray"),
    "optuna": ("hydra_plugins.hydra_optuna_sweeper", "sweep-optuna"),
}
"""First word of a preset's or plugin's name, to the plugin's module and its extra."""


def missing_plugin(arguments: Sequence[str]) -> str | None:
    """A message if the plugin of a chosen preset is not installed, else None."""
    for argument in arguments:
        chosen = re.fullmatch(r"hydra/(?:launcher|sweeper)=([a-z]+)\w*", argument)
        module, extra = PLUGINS.get(chosen[1], ("", "")) if chosen else ("", "")
        if module and not _installed(module):
            return f"{argument} needs a plugin of Hydra: pip install 's2hand[{extra}]'"
    return None


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the namespace package is missing too
        return False


def job_folder(overrides: Sequence[str], study: str) -> str:
    """The name of a job's folder, made of its overrides.

    It omits the study and an experiment of the same name, which ``runs/<study>`` gives, and
    ``resume``, as a job that starts over is the same job. Characters that are special in shells or
    file systems become ``_``. Long names drop the first parts of keys, and are cut. Changed names
    end in a hash of the overrides, so that no two jobs share a folder.
    """
    omitted = re.compile(rf"(study|paths\.runs|resume)=|experiment={re.escape(study)}$")
    named = sorted(text for text in overrides if not omitted.match(text))
    exact = ",".join(named)
    name = _plain(exact)
    if name == exact and len(name) <= LONGEST_NAME:
        return name or "default"
    if len(name) > LONGEST_NAME - 9:
        name = _plain(",".join(re.sub(r"^[^=]*\.(?=\w+\.\w+=)", "", text) for text in named))
    digest = hashlib.sha256(exact.encode()).hexdigest()[:8]
    return f"{name[: LONGEST_NAME - 9].rstrip('_,')}-{digest}"


def _plain(text: str) -> str:
    return re.sub(r"[^\w.,=+~-]+", "_", text, flags=re.ASCII)


def _job_folder(overrides: Any, study: str) -> str:
    return job_folder(OmegaConf.to_container(overrides), study)  # type: ignore[arg-type]


OmegaConf.register_new_resolver("s2hand.job_folder", _job_folder, replace=True)
