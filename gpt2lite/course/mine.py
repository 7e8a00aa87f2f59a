"""Keeps the parts that the reader wrote in my_gpt2.py, beside the notebook.

A part's place in the file is its place in PARTS; a later version replaces it. The file is the
reader's: git ignores it, and what it imports is chosen so that it runs as a module of its own.
Knows nothing about right and wrong.
"""

import ast
import importlib.util
import inspect
import linecache
import os
import re
import symtable
import sys
from pathlib import Path
from types import ModuleType

from gpt2lite.course.exercises import PARTS

FILE = Path("my_gpt2.py")
TITLE = '"""GPT-2, in the parts that you wrote. A later version of a part replaces it here."""'


def keep(name: str, answer) -> None:
    """Write a reader's function or class into my_gpt2.py as part `name`, in one step.

    Raises OSError if the source can't be found or the folder can't be written.
    """
    head, parts = _read()
    parts[name], imports = _cell(answer)
    head |= _needed(parts[name], _function(answer).__globals__) | imports
    text = "\n\n\n".join(f"# part {key}\n{parts[key]}" for key in sorted(parts, key=_place))
    defined = set(re.findall(r"^(?:def|class) (\w+)", text, re.M))
    used = set(re.findall(r"\w+", text)) - defined
    lines = sorted((line for name, line in head.items() if name in used), key=_isort)
    new = FILE.with_suffix(".new")
    new.write_text(f"{TITLE}\n\n" + "\n".join(lines) + f"\n\n\n{text}\n", encoding="utf-8")
    os.replace(new, FILE)


def kept() -> list[str]:
    """Return the names of the parts in my_gpt2.py, in their order."""
    return sorted(_read()[1], key=_place)


def load(notebook: str) -> ModuleType | None:
    """Import my_gpt2.py if it holds every part of a notebook, such as "01"; say what it holds.

    Returns None, and the notebook goes on with the course's own, if a part is missing or the file
    doesn't run.
    """
    names = [key for key, part in PARTS.items() if key.startswith(notebook) and not part.exercise]
    here = [name for name in names if name in kept()]
    if len(here) < len(names):
        found = f"○ my_gpt2.py holds {len(here)} of the {len(names)} parts of notebook {notebook}"
        print(f"{found}: the course's own goes on")
        return None
    spec = importlib.util.spec_from_file_location("my_gpt2", FILE)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the file is the reader's, and may have been edited
        print(f"○ my_gpt2.py doesn't run: {type(error).__name__}: {error}")
        return None
    print(f"✓ my_gpt2.py holds all {len(names)} parts of notebook {notebook}: yours goes on")
    return module


def _read() -> tuple[dict[str, str], dict[str, str]]:
    """Return the file's lines of imports and constants by the name they bind, and its parts."""
    text = FILE.read_text(encoding="utf-8") if FILE.exists() else ""
    head, *rest = re.split(r"^# part (\w+)\n", text, flags=re.M)
    lines = [line for line in head.splitlines() if re.match(r"(import|from) |\w+ = ", line)]
    parts = {name: source.strip() for name, source in zip(rest[::2], rest[1::2], strict=True)}
    return {_binds(line): line for line in lines}, parts


def _binds(line: str) -> str:
    return line.split()[-1] if line.startswith(("import ", "from ")) else line.split()[0]


def _place(name: str) -> tuple:
    return (list(PARTS).index(name) if name in PARTS else len(PARTS), name)


def _isort(line: str) -> tuple:
    return (not line.startswith(("import", "from")), line.startswith("from"), line)


def _function(answer):
    return inspect.unwrap(getattr(answer, "forward", answer))


def _cell(answer) -> tuple[str, dict[str, str]]:
    """Return the definitions of the answer's notebook cell, and its imports by what they bind.

    Helpers and constants that the reader put into the cell come along, its last line doesn't.
    """
    file = _function(answer).__code__.co_filename
    if os.path.exists(file):  # a script, not a cell
        return inspect.getsource(answer).strip(), {}
    source = "".join(linecache.getlines(file))
    if not source:
        raise OSError("its source can't be found")
    nodes = [n for n in ast.parse(source).body if "PARTS" not in ast.unparse(n)]
    definitions = [n for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    used = set().union(*map(_names, definitions))
    lines, pieces, imports = source.splitlines(), [], {}
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            one = [ast.unparse(type(node)(**vars(node) | {"names": [n]})) for n in node.names]
            imports |= {_binds(line): line for line in one}
        targets = {t.id for t in getattr(node, "targets", ()) if isinstance(t, ast.Name)}
        if node in definitions or targets & used:
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
            pieces.append("\n".join(lines[first - 1 : node.end_lineno]))
    return "\n\n\n".join(pieces), imports


def _names(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _free(scope: symtable.SymbolTable) -> set[str]:
    """Return the names that a source takes from outside: a function's own variables are not."""
    here = {s.get_name() for s in scope.get_symbols() if s.is_global() and s.is_referenced()}
    here = here.union(*map(_free, scope.get_children()))
    own = scope.get_symbols() if scope.get_type() == "module" else ()
    return here - {s.get_name() for s in own if s.is_assigned()}


def _needed(source: str, namespace: dict) -> dict[str, str]:
    """Return the lines that give a part the names it takes from the notebook."""
    lines = {}
    for name in _free(symtable.symtable(source, "my_gpt2.py", "exec")) & namespace.keys():
        value = namespace[name]
        module, qualname = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
        if isinstance(value, ModuleType):
            parent, _, last = value.__name__.rpartition(".")
            full = f"import {value.__name__}"
            named = f"from {parent} import {name}" if last == name and parent else full
            lines[name] = named if _binds(named) == name else f"{full} as {name}"
        elif hasattr(sys.modules.get(module), qualname or " ") and module != "__main__":
            lines[name] = f"from {module} import {qualname}"
            lines[name] += "" if qualname == name else f" as {name}"
        elif isinstance(value, int | float | str):
            lines[name] = f"{name} = {value!r}"
    return lines
