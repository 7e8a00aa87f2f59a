"""`make lab` opens the reader's own copy: what they wrote stays, what they didn't touch follows."""

from test_notebooks import ci


def test_what_the_reader_changed_is_kept_and_the_rest_follows_the_course(tmp_path):
    course, mine = tmp_path / "notebooks", tmp_path / "my_notebooks"
    for name in ("01_a.ipynb", "deep/02_b.ipynb", ".ipynb_checkpoints/01_a-checkpoint.ipynb"):
        (course / name).parent.mkdir(parents=True, exist_ok=True)
        (course / name).write_text("first")
    copy = ci("lab").copy
    assert copy(course, mine) == []
    assert sorted(p.name for p in mine.rglob("*.ipynb")) == ["01_a.ipynb", "02_b.ipynb"]
    (mine / "01_a.ipynb").write_text("an answer")
    (course / "03_c.ipynb").write_text("new")
    assert copy(course, mine) == [], "only the reader's changed: there is no newer one to speak of"
    for path in course.rglob("*.ipynb"):
        path.write_text("second")
    assert copy(course, mine) == ["01_a.ipynb"]
    texts = {path.name: path.read_text() for path in mine.rglob("*.ipynb")}
    assert texts == {"01_a.ipynb": "an answer", "02_b.ipynb": "second", "03_c.ipynb": "second"}
    (mine / "01_a.ipynb").unlink()
    assert copy(course, mine) == [] and (mine / "01_a.ipynb").read_text() == "second"
