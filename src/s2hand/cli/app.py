"""What every Hydra command shares: finding the configuration, readable errors, closing wandb."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.markup import escape
from rich.table import Table

_EXPECTED = (ValueError, OSError, RuntimeError, HydraException, OmegaConfBaseException)
"""What users can mend themselves; shown as one message, in full with S2HAND_TRACEBACK=1."""


def wandb_offline() -> bool:
    """Whether wandb should stay offline: no key in the environment or in ~/.netrc."""
    if os.environ.get("WANDB_MODE"):
        return os.environ["WANDB_MODE"] != "online"
    netrc = Path.home() / ".netrc"
    return not os.environ.get("WANDB_API_KEY") and not (
        netrc.is_file() and "api.wandb.ai" in netrc.read_text(errors="ignore")
    )


def command(
    config_name: str, elsewhere: Mapping[str, str] | None = None
) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Make ``run(cfg)`` a console command configured by ``conf/<config_name>.yaml``.

    ``elsewhere`` says what a setting of another command is called in this one.
    """

    def decorate(run: Callable[[DictConfig], Any]) -> Callable[[], None]:
        @hydra.main(version_base="1.3", config_path="pkg://s2hand.conf", config_name=config_name)
        def entry(cfg: DictConfig) -> Any:
            exit_code = 1
            try:
                if _is_sweep():  # jobs that shared a folder would resume each other
                    cfg.paths.run = HydraConfig.get().runtime.output_dir
                check_dataset_keys(cfg, HydraConfig.get().overrides.task)
                result = run(cfg)
                exit_code = 0
                return result
            except _EXPECTED as error:
                # A sweep goes on after a failed job only if the job raises; a person wants a line.
                if _is_sweep() or os.environ.get("S2HAND_TRACEBACK"):
                    raise
                _fail(message(error))
            finally:
                _close_wandb(exit_code)

        def main() -> None:
            unknown = sorted(set(chosen_losses(sys.argv[1:])) - set(known_losses()))
            if unknown:
                _fail(f"no loss named {unknown[0]!r}; there are {', '.join(known_losses())}")
            for argument in sys.argv[1:]:
                key = argument.lstrip("+").partition("=")[0]
                if elsewhere and key in elsewhere:
                    _fail(f"{argument}: s2hand-{config_name} calls it {elsewhere[key]}")
            entry()

        main.__doc__ = run.__doc__
        return main

    return decorate


def known_losses() -> list[str]:
    """Every name that the ``loss`` list may hold."""
    names = (Path(file.name) for file in files("s2hand.conf").joinpath("loss").iterdir())
    return sorted(name.stem for name in names if name.suffix == ".yaml")


def chosen_losses(arguments: Sequence[str]) -> list[str]:
    """The names in ``loss=[...]``; of an unknown one Hydra does not say which are known."""
    chosen = [a.removeprefix("loss=") for a in arguments if a.startswith("loss=")]
    return re.findall(r"\w+", " ".join(chosen))


def check_dataset_keys(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Raise ValueError for an added ``+dataset.key=value`` that nothing interpolates.

    The keys of ``dataset`` are names that conf/data gives to some arguments of the datasets.
    """
    added = [re.match(r"\+\+?dataset\.([\w.]+)=(.*)", text) for text in overrides]
    text = OmegaConf.to_yaml(cfg, resolve=False)
    for found in added:
        if found and not re.search(rf"\$\{{dataset\.{re.escape(found[1])}\b", text):
            key, value = found[1], found[2]
            raise ValueError(
                f"dataset.{key}: nothing reads it; an argument of the datasets themselves is given "
                f"as +data.train.{key}={value} +data.test.{key}={value}"
            )


def _fail(text: str) -> NoReturn:
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(f"[bold red]error:[/] {escape(text)}")
    sys.exit(1)


def message(error: BaseException) -> str:
    """What to tell a person: a constructor's own words where Hydra wrapped them."""
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        return message(error.__cause__)
    missing = re.search(r"Missing mandatory value: (\S+)", str(error))
    if isinstance(error, OmegaConfBaseException) and missing:
        return f"{missing[1]} is missing: give it on the command line, as {missing[1]}=..."
    if type(error) is RuntimeError:  # torch's own: not something that this package foresaw
        return f"{error}\n(S2HAND_TRACEBACK=1 shows where)"
    return str(error)


def _is_sweep() -> bool:
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def _close_wandb(exit_code: int) -> None:
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish(exit_code=exit_code)


def metrics_table(title: str, columns: dict[str, dict[str, float]]) -> Table:
    """Rows are metrics, columns are what was measured."""
    table = Table(title=title)
    table.add_column("metric")
    names = list(dict.fromkeys(name for values in columns.values() for name in values))
    for column in columns:
        table.add_column(column, justify="right")
    for name in names:
        cells = [f"{v[name]:.3f}" if name in v else "-" for v in columns.values()]
        table.add_row(name, *cells)
    return table


def quiet_libraries() -> None:
    """Silence advice that does not apply here."""
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
        ".*your dataloader is not resumable.*",  # the datamodule is
        ".*sync_dist=True.*",  # the metrics join their processes themselves
        ".*Total length of `list` across ranks is zero.*",  # no validation set
    ):
        warnings.filterwarnings("ignore", text)


OmegaConf.register_new_resolver("s2hand.wandb_offline", wandb_offline, replace=True)
