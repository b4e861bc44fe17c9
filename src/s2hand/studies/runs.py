"""The runs of a study, read from their files: overrides, metrics and failures."""

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
"""Files that mark a folder as a run."""
BOOKKEEPING = {"study", "name", "resume", "out", "paths.runs", "paths.run"}
"""Overrides that give a run's path or start, not its content."""


@dataclass(frozen=True)
class Run:
    """One folder of a study.

    Attributes:
        folder: the run's folder.
        overrides: its overrides by key, without :data:`BOOKKEEPING` and the seed.
        seed: its seed, or "" if none is given.
        metrics: by split: ``test`` if it was evaluated, ``val`` if it has finished.
        failure: the error of a failed run, else None.
        problems: files that cannot be read, with the reasons.
    """

    folder: Path
    overrides: Mapping[str, str]
    seed: str = ""
    metrics: Mapping[Split, Metrics] = field(default_factory=dict)
    finished: bool = False
    failure: str | None = None
    problems: Sequence[str] = ()


def read_study(study: Path) -> list[Run]:
    """The runs below a folder, or the folder itself if it is the only run.

    Raises:
        FileNotFoundError: the folder does not exist, or has no run.
    """
    if not study.is_dir():
        raise FileNotFoundError(f"no folder {study}")
    folders = list(_run_folders(study)) or [study] * _is_run(study)
    if not folders:
        raise FileNotFoundError(f"{study} holds no run: none of {', '.join(FILES)} in any folder")
    return [read_run(folder) for folder in folders]


def read_run(folder: Path) -> Run:
    """Read the files of one run; unreadable files are listed in ``problems``."""
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
        failure=str(failed.get("error", "unknown error")) if has_failed else None,
        problems=problems,
    )


def rows(runs: Sequence[Run], split: Split) -> dict[tuple[tuple[str, str], ...], list[Run]]:
    """Group runs that differ only in the seed, by their varying overrides, in natural order.

    Overrides shared by all runs are left out, as are list items shared by all lists, and failed
    runs. Two runs with equal overrides and seed differ in something else, such as the code; they
    become rows of their own, named by folder.
    """
    measured = [run for run in runs if split in run.metrics and run.failure is None]
    values = {name: _distinguishing(measured, name) for name in varying_overrides(measured)}
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
    """The keys whose values differ between runs."""
    keys = sorted({key for run in runs for key in run.overrides})
    return [key for key in keys if len({run.overrides.get(key) for run in runs}) > 1]


def _distinguishing(runs: Sequence[Run], key: str) -> list[str]:
    """The value of an override in every run; ``–`` in runs without it."""
    values = [run.overrides.get(key, "–") for run in runs]
    lists = [value[1:-1].split(",") if re.fullmatch(r"\[.+\]", value) else [] for value in values]
    if not all(lists):
        return values
    shared = set.intersection(*map(set, lists))
    return [" ".join(f"+{item}" for item in items if item not in shared) or "–" for items in lists]


def number(text: str) -> float | None:
    """The value of an override as a finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _natural(text: str) -> tuple[bool, float, str]:
    """Sort key: numbers by size, before words."""
    value = number(text)
    return (value is None, value or 0.0, text)


def _is_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in FILES)


def _run_folders(study: Path) -> Iterator[Path]:
    """Run folders below ``study``, sorted, without folders inside runs and without links."""
    for name, folders, _ in os.walk(study):
        here = Path(name)
        folders.sort()
        if here != study and _is_run(here):
            folders.clear()
            yield here


def _overrides(folder: Path, problems: list[str]) -> dict[str, str]:
    """The overrides in ``.hydra/overrides.yaml``, a list of ``key=value``, by key."""
    path = folder / ".hydra" / "overrides.yaml"
    if not path.exists():
        return {"run": folder.name}
    try:
        lines = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        lines = str(error)
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        problems.append(f"{path} cannot be read: it is not a list of key=value")
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
