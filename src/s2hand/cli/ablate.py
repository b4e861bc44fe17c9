"""``s2hand-ablate``: one checkpoint under many changes, in one study and one table."""

from __future__ import annotations

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape

from s2hand.cli.common.app import command, quiet_libraries
from s2hand.files.atomic import atomic_path
from s2hand.studies.ablation.rows import ROW_KEYS
from s2hand.studies.ablation.running import RowsFailedError, check_trainer, run_rows
from s2hand.studies.ablation.study import AblationStudy
from s2hand.studies.ablation.table import ablation_table

_OTHER_HAND = "ablation.other_hand.hand, of a row: rows=[full,other_hand]"
_ELSEWHERE = {
    "hand": _OTHER_HAND,
    "hand.model": _OTHER_HAND,
    "model": "nothing: it comes with the checkpoint",
    "render": "nothing: it comes with the checkpoint",
    "init_from": "checkpoint",
    "refine_steps": "ablation.refined.refine_steps",
}
"""Settings of other commands that have another name here."""


@command("ablate", elsewhere=_ELSEWHERE, open_parts=ROW_KEYS)
def main(cfg: DictConfig) -> None:
    """Run the rows, write and print the table."""
    quiet_libraries()
    check_trainer(cfg)
    study = AblationStudy(cfg)
    outputs = study.outputs(["ablation.md", "ablation.csv"])
    study.claim()
    failed = run_rows(study)
    table = ablation_table(study.folder, list(map(str, cfg.ablation)), cfg.metrics or ())
    with outputs:
        for suffix, text in ((".md", table.markdown()), (".csv", table.csv())):
            with atomic_path(study.folder / f"ablation{suffix}") as path:
                path.write_text(text, encoding="utf-8")
    console = Console(highlight=False)
    table.show(console)
    written = escape(str(study.folder / "ablation.md"))
    console.print(f"written: {written} (.csv beside it)", soft_wrap=True)
    if failed and HydraConfig.get().mode != RunMode.MULTIRUN:
        raise RowsFailedError(
            f"{len(failed)} of {len(study.changes)} rows failed: {', '.join(failed)} (failed.json "
            "in their folders says where); the same command tries them again"
        )


if __name__ == "__main__":
    main()
