"""``s2hand-evaluate``: metrics of a checkpoint, with pictures, a mesh and a page to look at."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape

from s2hand.cli.common.app import command, quiet_libraries
from s2hand.export.tables import metrics_table
from s2hand.files.json import write_json
from s2hand.training.build import load, make_data
from s2hand.training.callbacks import example_batch
from s2hand.training.checkpoints.reading import read_checkpoint
from s2hand.training.evaluation import (
    data_config,
    measure,
    measuring_trainer,
    result_files,
    results,
    results_folder,
    warn_if_replaced,
    write_pictures,
    write_predictions,
)
from s2hand.training.loggers.dashboard import log_panel, use_checkpoint
from s2hand.view.metrics_page import write_metrics_page


@command("evaluate")
def main(cfg: DictConfig) -> None:
    """Measure, write the results, print a table."""
    quiet_libraries()
    out = results_folder(cfg)
    trainer = measuring_trainer(cfg, out)
    module = load(cfg.checkpoint, hand=cfg.hand_file)
    module.protocol = cfg.protocol
    use_checkpoint(trainer, cfg.checkpoint)
    record = read_checkpoint(cfg.checkpoint)["s2hand"]
    chosen = data_config(cfg, record["config"]["data"])
    outputs = result_files(cfg, chosen, out) if trainer.is_global_zero else None
    data = make_data(OmegaConf.create({"data": chosen}), module)
    columns = measure(trainer, module, data)
    if outputs is None:
        return
    module = module.to(trainer.strategy.root_device)
    report = results(str(cfg.checkpoint), record, module, data, columns)
    # In mixed data, test is the name of a part.
    test_set = chosen.parts[chosen.test].data.test if isinstance(chosen.test, str) else chosen.test
    report["test_set"] = OmegaConf.to_container(test_set, resolve=True)
    warn_if_replaced(out / "metrics.json", report["test_set"])
    page = out / "index.html"
    with outputs:
        write_json(out / "metrics.json", report)
        if cfg.pred_json:
            write_predictions(module, data, out / "pred.json")
        write_pictures(module, example_batch(data, "test", cfg.examples), out)
        log_panel(trainer, out / "panel.png")
        title = f"{out.name}: {cfg.checkpoint}"
        write_metrics_page(page, title, columns, out / "panel.png", out / "example.glb")
    console = Console()
    console.print(metrics_table(f"{report['frames']} test frames", columns))
    console.print(
        f"look at [bold]{escape(str(page))}[/] "
        "(metrics.json, panel.png, example.glb are beside it)",
        soft_wrap=True,
    )


if __name__ == "__main__":
    main()
