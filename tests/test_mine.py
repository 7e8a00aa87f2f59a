"""my_gpt2.py: each part once, in the order of the mathematics, as a module that runs."""

import linecache
import subprocess
import sys

import pytest
from nbformat.v4 import new_code_cell, new_notebook
from notebook_runs import run

from gpt2lite.course import mine
from gpt2lite.course.exercises import Part


@pytest.fixture(autouse=True)
def parts(tmp_path, monkeypatch):
    """Work in a folder of its own, with three parts of a notebook and an exercise."""
    monkeypatch.chdir(tmp_path)
    part = Part(lambda: 0, (), ())
    names = dict.fromkeys(("01_attend", "01_mlp", "01_gpt"), part)
    monkeypatch.setattr(
        mine, "PARTS", names | {"01_puzzle": Part(lambda: 0, (), (), exercise=True)}
    )
    return tmp_path


CELLS = iter(range(10**6))


def cell(source: str, name: str, **notebook):
    """Run a source as a notebook's cell, and return what it defines as `name`."""
    file = f"<cell {next(CELLS)}>"
    linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file
    notebook["__name__"] = "__main__"
    exec(compile(source, file, "exec"), notebook)
    return notebook[name]


def runs(code: str) -> str:
    command = [sys.executable, "-c", f"import my_gpt2; {code}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


ATTEND = """\
from math import sqrt, tau
from torch import float32 as kind

SCALE = {"half": 0.5}
noise = print("a trial")


def helper(x):  # the reader's own
    return sqrt(x) * SCALE["half"] if kind else None


def attend(q):
    \"\"\"Half the root.\"\"\"
    return helper(q) if q < 99 else attend(98.0)


attend(4.0)
attend = attend or PARTS["01_attend"]
"""


def test_a_part_comes_with_what_its_cell_holds():
    mine.keep("01_attend", cell(ATTEND, "attend", PARTS={}))
    text = mine.FILE.read_text()
    assert "# the reader's own" in text and "trial" not in text and "PARTS" not in text
    head, _, part = text.partition("# part")
    assert "from math import sqrt\nfrom torch import float32 as kind\n" in head
    assert "import" not in part and "tau" not in text
    assert runs("print(my_gpt2.attend(16.0))") == "2.0"
    assert [path.name for path in mine.FILE.parent.resolve().iterdir()] == ["my_gpt2.py"]


def test_a_part_comes_with_the_names_it_takes_from_the_notebook():
    import torch
    import torch.nn.functional as F
    from torch import nn

    from gpt2lite.config import GPTConfig

    source = """\
@torch.no_grad()
def mlp(x: nn.Module, config=GPTConfig):
    return F.relu(x) + T + twice(T)
"""
    from numpy import square as twice

    notebook = dict(torch=torch, F=F, nn=nn, GPTConfig=GPTConfig, T=6, unused=7, twice=int)
    function = cell(source, "mlp", **notebook)
    mine.keep("01_mlp", function)
    assert runs("import torch; print(my_gpt2.mlp(torch.tensor(-1.0)).item())") == "12.0"
    assert "@torch.no_grad()\ndef mlp" in mine.FILE.read_text()
    head = mine.FILE.read_text().split("# part")[0].splitlines()
    assert head[0] == mine.TITLE and "T = 6" in head and "unused = 7" not in head
    assert "import torch.nn.functional as F" in head and "from torch import nn" in head
    assert twice
    mine.keep("01_gpt", cell("def gpt():\n    return 1\n", "gpt"))  # leaves the others' names
    assert runs("import torch; print(my_gpt2.mlp(torch.tensor(-1.0)).item())") == "12.0"


def test_a_parts_own_variables_are_not_taken_for_the_notebooks():
    source = """\
width = 3


def attend(q, k=H):
    B, T = len(q), 2

    def row(C):
        return [C * t + T for t in range(B)]

    return [row(x) for x in q] + [width, k]
"""
    notebook = dict(B=1, T=6, C=192, H=4, t=5, x=7, q=8, width=9)
    mine.keep("01_attend", cell(source, "attend", **notebook))
    head = mine.FILE.read_text().split("# part")[0].splitlines()
    assert [line for line in head if "=" in line] == ["H = 4"], "a local name was written out"
    assert runs("print(my_gpt2.attend([10]))") == "[[2], 3, 4]"


def test_parts_stand_in_order_and_a_later_version_replaces_its_part():
    mine.keep("01_gpt", cell("def gpt():\n    return mlp() + 1\n", "gpt"))
    mine.keep("01_mlp", cell("def mlp():\n    return 1\n", "mlp"))
    mine.keep("01_attend", cell("def attend():\n    return 1\n", "attend"))
    mine.keep("01_mlp", cell("def mlp():\n    return 41\n", "mlp"))
    assert mine.kept() == ["01_attend", "01_mlp", "01_gpt"]
    text = mine.FILE.read_text()
    assert text.index("def attend") < text.index("def mlp") < text.index("def gpt")
    assert text.count("def mlp") == 1 and runs("print(my_gpt2.gpt())") == "42"


def test_a_stand_in_is_imported_until_the_part_is_the_readers():
    from math import sqrt as mlp

    mine.keep("01_gpt", cell("def gpt():\n    return mlp(4)\n", "gpt", mlp=__import__("os").getcwd))
    assert "import getcwd as mlp" in mine.FILE.read_text() and mlp
    mine.keep("01_mlp", cell("def mlp(x):\n    return x\n", "mlp"))
    assert "getcwd" not in mine.FILE.read_text() and runs("print(my_gpt2.gpt())") == "4"


def test_a_class_is_kept_by_its_forward():
    source = """\
class GPT(nn.Module):
    def __init__(self):
        super().__init__()

    def forward(self, x):
        return x + 1
"""
    from torch import nn

    mine.keep("01_gpt", cell(source, "GPT", nn=nn))
    assert runs("print(my_gpt2.GPT()(1))") == "2"


def test_it_is_loaded_once_it_is_complete(capsys):
    assert mine.load("01") is None
    found = "○ my_gpt2.py holds 0 of the 3 parts of notebook 01: the course's own goes on\n"
    assert capsys.readouterr().out == found
    mine.keep("01_gpt", cell("def gpt():\n    return 0\n", "gpt"))
    assert mine.load("01") is None
    found = "○ my_gpt2.py holds 1 of the 3 parts of notebook 01: the course's own goes on\n"
    assert capsys.readouterr().out == found
    for number, name in enumerate(("attend", "mlp", "gpt")):
        mine.keep(f"01_{name}", cell(f"def {name}():\n    return {number}\n", name))
    assert mine.load("01").gpt() == 2
    assert "✓ my_gpt2.py holds all 3 parts of notebook 01" in capsys.readouterr().out


def test_a_file_that_the_reader_broke_stops_nothing(capsys):
    for name in ("attend", "mlp", "gpt"):
        mine.keep(f"01_{name}", cell(f"def {name}():\n    return 0\n", name))
    mine.FILE.write_text(mine.FILE.read_text() + "\nreturn 1\n")
    capsys.readouterr()
    assert mine.load("01") is None
    assert "○ my_gpt2.py doesn't run: SyntaxError" in capsys.readouterr().out
    mine.keep("01_mlp", cell("def mlp():\n    return 5\n", "mlp"))
    assert "return 5" in mine.FILE.read_text()


SETTING = """\
import torch
from torch import nn
from gpt2lite.course import checks
from gpt2lite.course.exercises import PARTS, Part

def double(x):
    return 2 * x

def elsewhere(x):
    return x

class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.double = double
    def forward(self, x):
        return self.double(x)

case = ((torch.ones(3),),)
PARTS["01_double"] = Part(double, case, ())
PARTS["01_twice"] = Part(Twice, case, (), make=lambda kind: kind())
"""
DOUBLE = """\
def helped(x):
    return x + x if x is not None else elsewhere(x)  # twice


def double(x):
    return {}


double = checks.build(double, PARTS["01_double"])
"""
TWICE = """\
class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.double = double

    def forward(self, x):
        return self.double(x)


Twice = checks.build(Twice, PARTS["01_twice"])
checks.summary()
"""


def test_a_notebook_keeps_what_its_cells_hold(tmp_path):
    cells = [SETTING, DOUBLE.format("helped(x)[0]"), TWICE, DOUBLE.format("helped(x)"), TWICE]
    notebook = new_notebook(cells=[new_code_cell(source) for source in cells])
    lines = run(notebook, tmp_path, "a notebook").splitlines()
    assert [line[:9] for line in lines if line] == [
        "✗ double:",
        "✓ Twice: ",
        "✓ 1 of 2 ",
        "✓ double:",
        "✓ Twice: ",
        "✓ 2 of 2 ",
    ]
    assert runs("print(my_gpt2.double(2), my_gpt2.Twice()(3))") == "4 6"
    text = mine.FILE.read_text()
    assert "elsewhere(x)  # twice" in text and "__main__" not in text
    assert "checks" not in text and "exercises" not in text
