"""Runs read from their files, whatever state these are in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fixtures.studies import write_grid, write_run
from s2hand.cli.sweep_report import main as sweep_report
from s2hand.files.json import read_json_object
from s2hand.studies.runs import read_run, read_study, rows, varying_overrides


def test_a_run_says_what_it_was_told_and_what_came_of_it(tmp_path: Path) -> None:
    told = ["experiment=demo", "+trainer.max_time=00:01", "~loss.ssim", "name=x", "seed=3"]
    run = read_run(write_run(tmp_path / "a", told, test={"pa_mpjpe_mm": 9}, val={"f5": 0.5}))
    assert run.overrides == {
        "experiment": "demo", "trainer.max_time": "00:01", "~loss.ssim": "left out",
    }  # fmt: skip
    assert run.seed == "3"
    assert run.metrics == {"test": {"pa_mpjpe_mm": 9.0}, "val": {"f5": 0.5}}
    assert run.finished
    assert run.failure is None
    assert not run.problems


def test_every_run_is_found_once_and_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no run"):
        read_study(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder"):
        read_study(tmp_path / "nope")
    write_run(tmp_path / "a", val={})
    write_run(tmp_path / "deeper" / "b", val={})
    write_run(tmp_path / "a" / "adapt" / "inner", val={})  # part of run a
    (tmp_path / "empty").mkdir()
    (tmp_path / "multirun.yaml").write_text("{}")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert [run.folder.name for run in read_study(tmp_path)] == ["a", "b"]
    assert [run.folder for run in read_study(tmp_path / "a" / "adapt" / "inner")] == [
        tmp_path / "a" / "adapt" / "inner"
    ]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("metrics.json", b'{"metrics": {"model": {"pa_'),
        ("metrics.json", b"\xff\xfe\x00"),
        ("metrics.json", b"[1, 2]"),
        ("metrics.json", b'{"metrics": {"other": {"pa_mpjpe_mm": 1}}}'),
        ("metrics.json", b'{"metrics": [3]}'),
        ("metrics.json", b"[" * 100_000),
        ("train.json", b""),
        (".hydra/overrides.yaml", b"a: b"),
        (".hydra/overrides.yaml", b"- [unclosed"),
        (".hydra/overrides.yaml", b"- !!python/object/apply:os.system [touch pwned]"),
        (".hydra/overrides.yaml", b"\xff\xfe\xff"),
    ],
)
def test_a_damaged_file_is_named_and_not_fatal(
    tmp_path: Path, file: str, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_run(tmp_path / "a", ["seed=0"], test={"pa_mpjpe_mm": 9})
    (folder / file).write_bytes(content)
    run = read_run(folder)
    assert len(run.problems) == 1
    assert str(folder / file) in run.problems[0]
    assert not (tmp_path / "pwned").exists()


def test_numbers_that_are_none_are_left_out(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a")
    text = '{"metrics": {"model": {"a": NaN, "b": 1, "c": "x", "d": true, "e": Infinity}}}'
    (folder / "metrics.json").write_text(text)
    assert read_run(folder).metrics == {"test": {"b": 1.0}}


def test_a_failed_run_is_in_no_row(tmp_path: Path) -> None:
    write_run(tmp_path / "a", ["seed=0"], val={"pa_mpjpe_mm": 1})
    write_run(tmp_path / "b", ["seed=1"], val={"pa_mpjpe_mm": 2}, error="ValueError: no")
    (members,) = rows(read_study(tmp_path), "val").values()
    assert [run.folder.name for run in members] == ["a"]


def test_runs_that_differ_in_the_seed_alone_are_one_row(tmp_path: Path) -> None:
    write_grid(tmp_path)
    runs = read_study(tmp_path)
    assert varying_overrides(runs) == ["loss.photometric.weight", "window"]
    found = rows(runs, "test")
    assert [len(members) for members in found.values()] == [3, 3, 3, 3]
    key = (("loss.photometric.weight", "0.001"), ("window", "clip3"))
    assert sorted(run.seed for run in found[key]) == ["0", "1", "2"]


def test_rows_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for weight in ("10", "9", "1e-3", "none"):
        write_run(tmp_path / weight, [f"a.weight={weight}"], test={"f5": 1})
    found = [label[0][1] for label in rows(read_study(tmp_path), "test")]
    assert found == ["1e-3", "9", "10", "none"]


def test_two_runs_of_one_seed_are_not_averaged(tmp_path: Path) -> None:
    for name in ("before", "after"):
        write_run(tmp_path / name, [f"name={name}", "seed=0"], test={"f5": 1})
    labels = [dict(label) for label in rows(read_study(tmp_path), "test")]
    assert [label["run"] for label in labels] == ["after", "before"]


def test_of_lists_only_what_tells_them_apart_is_kept(tmp_path: Path) -> None:
    for name, losses in (("a", "[shape,ssim]"), ("b", "[ssim,scale,shape]")):
        write_run(tmp_path / name, [f"loss={losses}"], test={"f5": 1})
    labels = {dict(label)["loss"] for label in rows(read_study(tmp_path), "test")}
    assert labels == {"–", "+scale"}


def test_an_override_that_one_run_lacks_is_a_dash(tmp_path: Path) -> None:
    write_run(tmp_path / "a", ["optim=adam"], test={"f5": 1})
    write_run(tmp_path / "b", [], test={"f5": 1})
    assert {dict(label)["optim"] for label in rows(read_study(tmp_path), "test")} == {"adam", "–"}


def test_runs_without_a_record_are_known_by_their_folder(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (write_run(tmp_path / name, test={"f5": 1}) / ".hydra" / "overrides.yaml").unlink()
    assert {dict(label)["run"] for label in rows(read_study(tmp_path), "test")} == {"a", "b"}


def test_what_is_no_object_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("3")
    with pytest.raises(ValueError, match=r"x\.json does not hold a JSON object"):
        read_json_object(tmp_path / "x.json")


def test_a_run_of_an_earlier_version_is_reported(tmp_path: Path) -> None:
    stored = Path(__file__).parents[1] / "fixtures" / "stored_runs"
    study = shutil.copytree(stored, tmp_path / "study")
    (run,) = read_study(study)
    assert run.overrides == {"experiment": "smoke"}
    assert run.finished
    assert run.metrics["val"]["pa_mpjpe_mm"] == pytest.approx(16, abs=16)
    assert sweep_report([str(study)]) == 0
    report = (study / "report.md").read_text()
    assert f"{run.metrics['val']['pa_mpjpe_mm']:.2f}" in report
