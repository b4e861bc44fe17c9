"""The runs of a study, read from their files alone: what each was told, and what came of it."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from s2hand.files.json import read_json_object

Metrics = dict[str, float]
Split = Literal["test", "val"]

FILES = (".hydra", "train.json", "metrics.json", "failed.json")
"""What makes a folder a run."""
BOOKKEEPING = {"study", "name", "resume", "out", "paths.runs", "paths.run"}
"""Overrides that say where a run lies or how it was started, not what it is."""


@dataclass(frozen=True)
class Run:
    """One folder of a study.

    Attributes:
        folder: where.
        overrides: what it was told, by key, without :data:`BOOKKEEPING` and the seed.
        seed: as it was told, or "" where it was not.
        metrics: by split; of ``test`` where it was evaluated, of ``val`` where it has finished.
        failure: why it failed, if it did.
        problems: files that cannot be read, and why.
    """

    folder: Path
    overrides: Mapping[str, str]
    seed: str = ""
    metrics: Mapping[Split, Metrics] = field(default_factory=dict)
    finished: bool = False
    failure: str | None = None
    problems: Sequence[str] = ()


def read_study(study: Path) -> list[Run]:
    """Every run below a folder, or the folder itself if it is the only one.

    Raises:
        FileNotFoundError: no such folder, or no run in it.
    """
    if not study.is_dir():
        raise FileNotFoundError(f"no folder {study}")
    folders = list(_run_folders(study)) or [study] * _is_run(study)
    if not folders:
        raise FileNotFoundError(f"{study} holds no run: none of {', '.join(FILES)} in any folder")
    return [read_run(folder) for folder in folders]


def read_run(folder: Path) -> Run:
    """What the files of one run say; what cannot be read is named in ``problems``."""
    problems: list[str] = []

    def read(name: str) -> dict[str, Any]:
        try:
            return read_json_object(folder / name) if (folder / name).exists() else {}
        except ValueError as error:
            problems.append(str(error))
            return {}

    overrides = _overrides(folder, problems)
    seed = overrides.pop("seed", "")
    trained, tested, failed = read("train.json"), read("metrics.json"), read("failed.json")
    metrics: dict[Split, Metrics] = {}
    columns = tested.get("metrics")
    if isinstance(columns, dict) and (test := _numbers(columns.get("model"))):
        metrics["test"] = test
    elif tested:
        problems.append(f"{folder / 'metrics.json'}: no metrics of a model in it")
    validated = _numbers(trained.get("metrics"))
    if val := {k.removeprefix("val/"): v for k, v in validated.items() if k.startswith("val/")}:
        metrics["val"] = val
    has_failed = (folder / "failed.json").exists()
    return Run(
        folder,
        {key: value for key, value in overrides.items() if key not in BOOKKEEPING},
        seed,
        metrics,
        finished=bool(trained),
        failure=str(failed.get("error", "for an unknown reason")) if has_failed else None,
        problems=problems,
    )


def rows(runs: Sequence[Run], split: Split) -> dict[tuple[tuple[str, str], ...], list[Run]]:
    """Runs that differ in the seed alone, together: by their varying overrides, in natural order.

    Overrides that all runs have in common are left out, and of lists what all lists hold; failed
    runs too. Two runs of one row and one seed differ in something that their overrides do not say,
    such as the code: their folders set them apart.
    """
    measured = [run for run in runs if split in run.metrics and run.failure is None]
    values = {name: _told_apart(measured, name) for name in varying_overrides(measured)}
    together: dict[tuple[tuple[str, str], ...], list[Run]] = {}
    for place, run in enumerate(measured):
        key = tuple((name, column[place]) for name, column in values.items())
        together.setdefault(key, []).append(run)
    found: dict[tuple[tuple[str, str], ...], list[Run]] = {}
    for key, members in together.items():
        if len({run.seed for run in members}) == len(members):
            found[key] = members
        else:
            found |= {(*key, ("run", run.folder.name)): [run] for run in members}
    return dict(sorted(found.items(), key=lambda row: [_natural(value) for _, value in row[0]]))


def varying_overrides(runs: Sequence[Run]) -> list[str]:
    """The keys that not all runs have with the same value."""
    keys = sorted({key for run in runs for key in run.overrides})
    return [key for key in keys if len({run.overrides.get(key) for run in runs}) > 1]


def _told_apart(runs: Sequence[Run], key: str) -> list[str]:
    """The value of an override in every run; ``–`` where it was not given."""
    values = [run.overrides.get(key, "–") for run in runs]
    lists = [value[1:-1].split(",") if re.fullmatch(r"\[.+\]", value) else [] for value in values]
    if not all(lists):
        return values
    shared = set.intersection(*map(set, lists))
    return [" ".join(f"+{item}" for item in items if item not in shared) or "–" for items in lists]


def number(text: str) -> float | None:
    """The finite number that a value of an override is, if it is one."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _natural(text: str) -> tuple[bool, float, str]:
    """Numbers by size, before words."""
    value = number(text)
    return (value is None, value or 0.0, text)


def _is_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in FILES)


def _run_folders(study: Path) -> Iterator[Path]:
    """Run folders below ``study``, sorted; nothing inside a run is looked at, no link followed."""
    for name, folders, _ in os.walk(study):
        here = Path(name)
        folders.sort()
        if here != study and _is_run(here):
            folders.clear()
            yield here


def _overrides(folder: Path, problems: list[str]) -> dict[str, str]:
    """Of ``.hydra/overrides.yaml``, a list of ``key=value``."""
    path = folder / ".hydra" / "overrides.yaml"
    if not path.exists():
        return {"run": folder.name}
    try:
        lines = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        lines = str(error)
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        problems.append(f"{path} cannot be read: it is no list of key=value")
        return {"run": folder.name}
    pairs = (line.partition("=") for line in lines)
    return {key.lstrip("+"): "left out" if key[0] == "~" else v for key, _, v in pairs if key}


def _numbers(value: Any) -> Metrics:
    """The finite numbers of a mapping."""
    items = value.items() if isinstance(value, dict) else ()
    return {
        str(name): float(v)
        for name, v in items
        if isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)
    }
