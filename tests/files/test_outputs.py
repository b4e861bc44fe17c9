"""Outputs: what a user gave stays, what an earlier run wrote goes, whatever the names are."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2hand.files.atomic import atomic_path
from s2hand.files.outputs import (
    MANIFEST,
    SCHEMA,
    InputFolder,
    Outputs,
    check_file,
    files_named_in,
    has_keys,
    name_key,
)


def write(folder: Path, *names: str, text: str = "ours") -> None:
    for name in names:
        with atomic_path(folder / name) as path:
            path.write_text(text)


def run(folder: Path, *names: str, writer: str = "predict", inputs: Any = ()) -> None:
    """A run that plans files and writes them."""
    with Outputs(folder, writer, inputs).plan(names):
        write(folder, *names)


def there(folder: Path) -> set[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix() for path in files} - {MANIFEST}


def test_files_of_an_earlier_run_are_removed_and_other_files_stay(tmp_path: Path) -> None:
    write(tmp_path, "notes.txt", "obj/mine.obj", text="mine")
    run(tmp_path, "track.npz", "obj/1.obj", "obj/2.obj", "png/1.png")
    run(tmp_path, "track.npz", "obj/1.obj")
    assert there(tmp_path) == {"notes.txt", "obj/mine.obj", "track.npz", "obj/1.obj"}
    assert not (tmp_path / "png").exists(), "an emptied folder goes"


def test_each_writer_removes_its_own(tmp_path: Path) -> None:
    run(tmp_path, "track.npz")
    run(tmp_path, "index.html", writer="page")
    run(tmp_path, "track.json")
    assert there(tmp_path) == {"index.html", "track.json"}
    run(tmp_path, "index.html", writer="evaluate")  # takes it over
    run(tmp_path, writer="page")
    assert there(tmp_path) == {"index.html", "track.json"}


@pytest.mark.parametrize("how", ["never written", "changed since"])
def test_a_file_of_the_user_is_not_replaced(how: str, tmp_path: Path) -> None:
    if how == "changed since":
        run(tmp_path, "hand.glb")
    write(tmp_path, "hand.glb", text="mine and longer")
    with pytest.raises(ValueError, match=r"hand\.glb exists and was .*: move it, or choose"):
        Outputs(tmp_path, "predict").plan(["hand.glb"])
    run(tmp_path, "track.npz")
    assert (tmp_path / "hand.glb").read_text() == "mine and longer", "nor removed"


def test_a_change_that_keeps_the_size_is_seen(tmp_path: Path) -> None:
    run(tmp_path, "hand.glb")
    (tmp_path / "hand.glb").write_text("mine")
    os.utime(tmp_path / "hand.glb", ns=(1, 1))
    outputs = Outputs(tmp_path, "predict")
    assert outputs.changed(["hand.glb", "none.glb"]) == ["hand.glb"]
    with pytest.raises(ValueError, match=r"hand\.glb exists and was changed since"):
        outputs.plan(["hand.glb"])
    kept = [outputs.set_aside("hand.glb").name]
    run(tmp_path, "hand.glb")
    kept.append(outputs.set_aside("hand.glb").name)
    assert kept == ["hand.changed-1.glb", "hand.changed-2.glb"]
    assert (tmp_path / kept[0]).read_text() == "mine"


@pytest.mark.parametrize("end", ["killed", KeyboardInterrupt(), OSError("full")])
def test_an_interrupted_run_can_be_repeated(end: Any, tmp_path: Path) -> None:
    run(tmp_path, "a", "b", "c")
    outputs = Outputs(tmp_path, "predict").plan(["a", "d"])
    if end == "killed":
        outputs.__enter__()
        write(tmp_path, "a", "d", text="half a run")
    else:
        with suppress(type(end)), outputs:
            write(tmp_path, "a", "d", text="half a run")
            raise end
    assert there(tmp_path) == {"a", "b", "c", "d"}, "an error removes nothing"
    run(tmp_path, "a")
    # Nobody can tell what a killed run left from what the user put there since.
    assert there(tmp_path) == ({"a", "a.changed-1", "d"} if end == "killed" else {"a"})


def test_a_file_that_appears_after_the_plan_is_kept(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path, "predict").plan(["hand.glb"])
    write(tmp_path, "hand.glb", text="mine")
    with outputs:
        write(tmp_path, "hand.glb", text="result")
    assert (tmp_path / "hand.changed-1.glb").read_text() == "mine"
    assert (tmp_path / "hand.glb").read_text() == "result"


def test_a_file_that_appears_after_a_kill_is_kept(tmp_path: Path) -> None:
    Outputs(tmp_path, "predict").plan(["hand.glb"]).__enter__()
    write(tmp_path, "hand.glb", text="mine")
    run(tmp_path, "track.json")
    assert (tmp_path / "hand.glb").read_text() == "mine"


def test_planning_writes_nothing(tmp_path: Path) -> None:
    Outputs(tmp_path / "new", "predict").plan(["a", "b/c"])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="full"), Outputs(tmp_path / "new", "predict").plan(["a"]):
        raise OSError("full")
    assert there(tmp_path) == set()
    assert not (tmp_path / "new" / MANIFEST).exists(), "nothing to list"


# Inputs


@contextmanager
def _refused(path: Path, given: Path) -> Iterator[None]:
    message = f"{path} would replace the input {given}: choose another place"
    with pytest.raises(ValueError, match=re.escape(message)):
        yield


@pytest.mark.parametrize("link", ["none", "symlink", "hard link", "of the folder", "of the input"])
def test_an_input_is_found_through_links(link: str, tmp_path: Path) -> None:
    source, out = tmp_path / "photos" / "a.png", tmp_path / "out"
    write(tmp_path / "photos", "a.png", text="mine")
    out.mkdir()
    inputs = source
    if link == "none":
        out = source.parent
    elif link == "symlink":
        (out / "a.png").symlink_to(source)
    elif link == "hard link":
        (out / "a.png").hardlink_to(source)
    elif link == "of the folder":
        out = tmp_path / "link"
        out.symlink_to(source.parent)
    else:
        inputs = tmp_path / "link.png"
        inputs.symlink_to(source)
        out = source.parent
    with _refused(out / "a.png", inputs):
        Outputs(out, "predict", [inputs]).plan(["a.png"])
    with _refused(out / "a.png", inputs):
        check_file(out / "a.png", [inputs])
    assert source.read_text() == "mine"


@pytest.mark.parametrize("name", ["A.PNG", "a.Png"])
def test_an_input_is_found_by_a_name_of_another_case(name: str, tmp_path: Path) -> None:
    write(tmp_path, "a.png")
    with _refused(tmp_path / name, tmp_path / "a.png"):
        Outputs(tmp_path, "predict", [tmp_path / "a.png"]).plan([name])
    with _refused(tmp_path / name, tmp_path / "a.png"):
        check_file(tmp_path / name, [tmp_path / "a.png"])


def test_an_output_that_became_an_input_is_not_removed(tmp_path: Path) -> None:
    run(tmp_path, "overlay.mp4", "track.npz")
    run(tmp_path, "track.npz", inputs=[tmp_path / "overlay.mp4"])
    assert there(tmp_path) == {"overlay.mp4", "track.npz"}


def test_no_output_becomes_an_input_of_the_next_run(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg", "deep/x.json")
    pictures = InputFolder(tmp_path, {".jpg", ".png"})
    for check in (
        lambda: Outputs(tmp_path, "predict", [pictures]).plan(["a.png"]),
        lambda: check_file(tmp_path / "sheet.PNG", [pictures]),
        lambda: check_file(tmp_path / "deep" / "y.json", [InputFolder(tmp_path, {".json"}, True)]),
    ):
        with pytest.raises(ValueError, match="would be read as an input the next time"):
            check()
    Outputs(tmp_path, "predict", [pictures]).plan(["a.json", "png/a.png"])


def test_what_does_not_exist_is_no_input(tmp_path: Path) -> None:
    run(tmp_path, "a", inputs=[None, "pretrained", tmp_path / "none", InputFolder(tmp_path, {"x"})])
    assert there(tmp_path) == {"a"}


def test_files_that_a_configuration_names_are_found(tmp_path: Path) -> None:
    write(tmp_path, "a.json")
    value = {"x": [str(tmp_path / "a.json"), 3, None, "", "a\0b", "x" * 5000], "y": str(tmp_path)}
    assert files_named_in(value) == [tmp_path / "a.json"]


# Names and places


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a.png", "a.png"], "'a.png' and 'a.png' are one file"),
        (["a.png", "A.PNG"], "'A.PNG' and 'a.png' are one file"),
        (["\u00e9", "e\u0301"], "are one file"),
        ([MANIFEST], "are one file"),
        (["../a"], r"'\.\./a' leads out of"),
        (["x/../../a"], "leads out of"),
        (["/tmp/a"], "leads out of"),
        (["folder"], "folder is a folder, but a file"),
        (["file/a"], "file is a file: give a folder"),
        (["link/a"], "link is a link to .*, outside"),
    ],
)
def test_plans_that_cannot_be_are_refused(names: list[str], said: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "folder").mkdir(parents=True)
    write(out, "file")
    (out / "link").symlink_to(tmp_path)
    with pytest.raises(ValueError, match=said):
        Outputs(out, "predict").plan(names)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "out")
    for folder in ("out", "out/deep"):
        with pytest.raises(ValueError, match="out is a file: give a folder for the results"):
            Outputs(tmp_path / folder, "predict").plan([])
    with pytest.raises(ValueError, match="out is a file"):
        check_file(tmp_path / "out" / "a.json")
    with pytest.raises(ValueError, match=rf"{tmp_path} is a folder: name a file"):
        check_file(tmp_path)


def test_a_named_file_is_replaced_and_a_default_one_if_it_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    recognised = has_keys("scores")
    for text in ("{}", "[]", "no JSON"):
        path.write_text(text)
        assert check_file(path) == path
        with pytest.raises(ValueError, match=r"scores\.json exists and is not an earlier result"):
            check_file(path, recognised=recognised)
    path.write_text('{"scores": 1, "more": 2}')
    check_file(path, recognised=recognised)


# The manifest is data that anybody may have written


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "null", "{", "[" * 100_000,
        '{"schema": "s2hand.outputs/9", "writers": {"predict": {"a": null}}}',
        '{"schema": "s2hand.outputs/1"}', '{"schema": "s2hand.outputs/1", "writers": []}',
        '{"schema": "s2hand.outputs/1", "writers": {"predict": ["a"]}}',
        '{"schema": "s2hand.outputs/1", "writers": {"predict": {"a": 3}}}',
        '{"schema": "s2hand.outputs/1", "writers": {"predict": {"a": ["x", null]}}}',
        '{"schema": "s2hand.outputs/1", "writers": {"predict": {"b": null, "a": [1.5, 2]}}}',
    ],
)  # fmt: skip
def test_a_damaged_manifest_lists_nothing(content: str, tmp_path: Path) -> None:
    write(tmp_path, "a", "b", text="mine")
    (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(ValueError, match="a exists and was not written by this command"):
        Outputs(tmp_path, "predict").plan(["a"])
    run(tmp_path, "c")
    assert there(tmp_path) == {"a", "b", "c"}


@pytest.mark.parametrize("name", ["../mine", "{abs}", "link/mine", "x/../../mine", "", ".", "a\0b"])
def test_a_manifest_does_not_reach_out_of_its_folder(name: str, tmp_path: Path) -> None:
    write(tmp_path, "mine", text="mine")
    out = tmp_path / "out"
    out.mkdir()
    (out / "link").symlink_to(tmp_path)
    listed = {name.format(abs=tmp_path / "mine"): None}
    content = {"schema": SCHEMA, "writers": {"predict": listed}}
    (out / MANIFEST).write_text(json.dumps(content))
    run(out, "track.npz")
    Outputs(out, "predict").adopt([name.format(abs=tmp_path / "mine")])
    run(out, "track.npz")
    assert (tmp_path / "mine").read_text() == "mine"
    assert (out / "track.npz").read_text() == "ours"


def test_a_link_in_the_place_of_a_listed_file_stays(tmp_path: Path) -> None:
    write(tmp_path, "mine", text="mine")
    out = tmp_path / "out"
    run(out, "a", "b")
    status = (out / "b").stat()
    listed = {"a": None, "b": [status.st_size, status.st_mtime_ns]}
    content = {"schema": SCHEMA, "writers": {"predict": listed}}
    (out / MANIFEST).write_text(json.dumps(content))
    (out / "a").unlink()
    (out / "a").symlink_to(tmp_path / "mine")
    run(out, "c")
    assert there(out) == {"a", "c"}
    assert (tmp_path / "mine").read_text() == "mine"


def test_files_of_a_version_without_manifests_can_be_adopted(tmp_path: Path) -> None:
    write(tmp_path, "a", "b", "mine")
    Outputs(tmp_path, "predict").adopt(["a", "b", "none"])
    run(tmp_path, "a")
    assert there(tmp_path) == {"a", "mine"}


# Whatever the names are

NAMES = st.one_of(
    st.sampled_from(["overlay.mp4", "track.npz", "obj/a.obj", "a-000000.png", "a.png", MANIFEST]),
    st.text(st.sampled_from("aAäÄßſ.-_ é\u0301手0"), min_size=1, max_size=6).filter(
        lambda name: name not in (".", "..")
    ),
)


@given(
    users=st.lists(NAMES, unique_by=name_key, max_size=6),
    runs=st.lists(st.lists(NAMES, max_size=6), min_size=1, max_size=3),
    count=st.integers(0, 6),
)
def test_no_file_of_the_user_is_changed_or_removed(
    users: list[str], runs: list[list[str]], count: int
) -> None:
    """Some of the user's files are inputs, the others lie there."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        users = [user for user in users if user != MANIFEST]
        write(folder, *users, text="mine")
        before = {user: (folder / user).stat() for user in users}
        for names in runs:
            with suppress(ValueError):
                run(folder, *names, inputs=[folder / user for user in users[:count]])
        for user, status in before.items():
            after = (folder / user).stat()
            assert (after.st_ino, after.st_mtime_ns) == (status.st_ino, status.st_mtime_ns)
            assert (folder / user).read_text() == "mine"
        run_again = [n for n in dict.fromkeys(runs[-1]) if (folder / n).exists()]
        listed = json.loads((folder / MANIFEST).read_text()) if (folder / MANIFEST).exists() else {}
        ours = {n for one in listed.get("writers", {}).values() for n in one}
        assert not ours & set(users)
        assert ours <= there(folder)
        assert set(run_again) <= there(folder) | {MANIFEST}
