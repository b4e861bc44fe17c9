"""Names of frames' files."""

from __future__ import annotations

from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from s2hand.files.outputs import name_key
from s2hand.prediction.inference import frame_stems


def test_no_two_frames_share_a_file() -> None:
    names = [
        "a.png",
        "a.jpg",
        "b.png",
        "x\\c.png",
        "y\\c.png",
        ".png",
        "",
        "/etc/passwd",
        "../../d.png",
    ]
    stems = frame_stems(names)
    assert len(set(stems)) == len(names)
    assert stems[2] == "b"
    assert stems[7:] == ["passwd", "d"]
    assert not any(stem.startswith(".") for stem in stems)
    assert all(stem and "/" not in stem and "\\" not in stem for stem in stems)


@example(["a.jpg", "a.png", "a-000000.jpg"])
@example(["a-000001.jpg", "b.png", "a.jpg", "A.png", "a-000002.jpg", "a-000002-.jpg"])
@example(["\u00e9.png", "e\u0301.png", "E\u0301.jpg"])
@given(
    st.lists(
        st.text(st.sampled_from("aAäÄßſ.-_/\\ 手0é\u0301"), max_size=8)
        | st.builds("{}-00000{}.png".format, st.sampled_from("aA"), st.integers(0, 9)),
        max_size=12,
    )
)
def test_stems_are_distinct_and_stay_in_the_folder(names: list[str]) -> None:
    stems = frame_stems(names)
    assert len({name_key(stem) for stem in stems}) == len(names)
    for stem in stems:
        path = Path("out") / f"{stem}.obj"
        assert path.parent == Path("out")
        assert stem[:1] not in ("", ".")
        assert "\\" not in stem


def test_a_name_of_its_own_stays() -> None:
    assert frame_stems(["b.png", "a.jpg", "a.png", "a-000001.jpg"]) == [
        "b", "a-000001-", "a-000002", "a-000001"
    ]  # fmt: skip
