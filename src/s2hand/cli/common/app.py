"""Shared by all Hydra commands: the configuration, readable errors, closing wandb."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from s2hand.cli.common.composing import Open, refusal
from s2hand.cli.common.overrides import (
    check_dataset_arguments,
    check_dataset_keys,
    check_losses,
    check_names,
    check_quotes,
)
from s2hand.files.errors import EXPECTED, INTERRUPTED, message, print_error
from s2hand.files.locks import lock_folder
from s2hand.studies.jobs import missing_plugin
from s2hand.training.loggers.wandb_runs import close_wandb, wandb_offline

_log = logging.getLogger(__name__)


def wandb_tags() -> list[str]:
    """The overrides on the command line as tags: ``seed=0``, ``experiment=demo``, ...

    Paths and names of the run are left out, as wandb shows them elsewhere. A tag has at most 64
    characters.
    """
    given = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    elsewhere = re.compile(r"[+~]*(paths|study|name|logger|callbacks|checkpoint|out)\b")
    tags = (text if len(text) <= 64 else f"{text[:61]}..." for text in given)
    return list(dict.fromkeys(tag for tag in tags if not elsewhere.match(tag)))


def run_name(folder: str) -> str:
    """The name of a run at wandb: that of its folder, which differs between jobs of a sweep."""
    return Path(folder).name


def job_type() -> str:
    """The running command as wandb's job type: ``train``, ``evaluate``, ``adapt``."""
    return str(HydraConfig.get().job.name) if HydraConfig.initialized() else "python"


def command(
    config_name: str, elsewhere: Mapping[str, str] | None = None, open_parts: Open | None = None
) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Make ``run(cfg)`` a console command configured by ``conf/<config_name>.yaml``.

    Args:
        config_name: name of the configuration and of the command.
        elsewhere: settings of other commands, by their names there: their names here.
        open_parts: names that may be added to parts of the configuration.
    """

    def decorate(run: Callable[[DictConfig], Any]) -> Callable[[], None]:
        @hydra.main(version_base="1.3", config_path="pkg://s2hand.conf", config_name=config_name)
        def entry(cfg: DictConfig) -> Any:
            exit_code = 1
            try:
                check_dataset_keys(cfg, HydraConfig.get().overrides.task)
                check_dataset_arguments(cfg)
                result = _run_job_of_sweep(run, cfg) if _is_sweep() else run(cfg)
                exit_code = 0
                return result
            except EXPECTED as error:
                # FailedJobs records the errors of a sweep; a single run prints one line.
                if _is_sweep() or os.environ.get("S2HAND_TRACEBACK"):
                    raise
                _fail(message(error))
            finally:
                close_wandb(exit_code)

        def main() -> None:
            missing = missing_plugin(sys.argv[1:])
            if missing:
                _fail(missing)
            try:
                check_quotes(sys.argv[1:])
                check_losses(sys.argv[1:])
                check_names(sys.argv[1:], elsewhere or {}, f"s2hand-{config_name}")
            except ValueError as error:
                _fail(str(error))
            # Otherwise Hydra prints errors of composing itself and exits.
            os.environ.setdefault("HYDRA_FULL_ERROR", "1")
            try:
                entry()
            except KeyboardInterrupt:
                _fail("interrupted; the same command resumes where it stopped", INTERRUPTED)
            except (HydraException, OmegaConfBaseException) as error:
                if os.environ.get("S2HAND_TRACEBACK"):
                    raise
                _fail(refusal(error, config_name, open_parts))

        main.__doc__ = run.__doc__
        return main

    return decorate


def _run_job_of_sweep(run: Callable[[DictConfig], Any], cfg: DictConfig) -> Any:
    """Run in the job's own folder: jobs with a shared one would resume each other."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    cfg.paths.run = str(folder)
    with lock_folder(folder) as free:
        if not free:
            _log.warning("skipped: another process is working in %s", folder)
            return None
        (folder / "failed.json").unlink(missing_ok=True)  # from an earlier attempt
        return run(cfg)


def _fail(text: str, exit_code: int = 1) -> NoReturn:
    print_error(text)
    sys.exit(exit_code)


def _is_sweep() -> bool:
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def quiet_libraries() -> None:
    """Silence warnings of libraries that do not apply here."""
    for name in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for text in (
        ".*does not have many workers.*",  # frames come from memory-mapped caches
        ".*smaller than the logging interval.*",
        ".*isinstance.treespec, LeafSpec.*",
        ".*exists and is not empty.*",
        ".*Experiment logs directory.*",
        ".*Sparse invariant checks.*",
        r".*module\(s\) in eval mode.*",  # the frozen stages
        ".*your dataloader is not resumable.*",  # the datamodule resumes itself
        ".*sync_dist=True.*",  # the metrics synchronise themselves
        ".*Total length of `list` across ranks is zero.*",  # no validation set
    ):
        warnings.filterwarnings("ignore", text)


for _resolver in (wandb_offline, wandb_tags, run_name, job_type):
    OmegaConf.register_new_resolver(f"s2hand.{_resolver.__name__}", _resolver, replace=True)
