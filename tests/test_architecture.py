"""The house: imports follow the flow, and run in no circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

STAGES = (
    ("errors", "extras", "progress", "units", "options"),
    ("storage",),
    ("profile",),
    ("targets",),
    ("quantizers",),
    ("speech",),
    ("models",),
    ("formats",),
    ("loading",),
    ("workers",),
    ("profiling",),
    ("allocation",),
    ("bitmaps",),
    ("rounding",),
    ("measurement",),
    ("export",),
    ("cli",),
)
"""The core's flow: a stage imports itself and those before it."""

PAGE = (("wording", "page"), ("charts",), ("report",), ("jobs",), ("views",), ("app",))
"""The page's flow."""

SLOW = {"torch", "transformers"}
"""What solving and drawing do without."""


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _modules(package: str) -> dict[str, Path]:
    return {_name(path): path for path in sorted((ROOT / package).rglob("*.py"))}


def _bases(tree: ast.AST, module: str, package: bool) -> Iterator[tuple[str, list[str], ast.AST]]:
    """What each import statement names: a module, and names in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, [], node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                above = parts[: len(parts) - node.level + package]  # a package is its own folder
                base = ".".join([*above, *([node.module] if node.module else [])])
            yield base, [alias.name for alias in node.names], node


def _imports(modules: dict[str, Path]) -> dict[str, set[str]]:
    """Modules that each module imports, wherever in it; annotations' imports left out."""
    found: dict[str, set[str]] = {}
    for module, path in modules.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        unused = {
            inner
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            for inner in ast.walk(node)
        }
        mine = found.setdefault(module, set())
        for base, names, node in _bases(tree, module, path.name == "__init__.py"):
            if node in unused:
                continue
            inside = {f"{base}.{name}" for name in names} & modules.keys()
            if inside:
                mine |= inside
            elif base in modules:
                mine.add(base)
        mine.discard(module)
    return found


@pytest.mark.parametrize("package", ["genptq_core", "dashboard"])
def test_imports_run_in_no_circle(package: str) -> None:
    left = _imports(_modules(package))
    while free := [module for module, wanted in left.items() if not wanted & left.keys()]:
        for module in free:
            del left[module]
    assert not left, f"in circles, or above one: {sorted(left)}"


@pytest.mark.parametrize(("package", "stages"), [("genptq_core", STAGES), ("dashboard", PAGE)])
def test_no_stage_imports_a_later_one(package: str, stages: tuple[tuple[str, ...], ...]) -> None:
    level = {name: number for number, names in enumerate(stages) for name in names}
    modules = _modules(package)
    parts = {m: m.split(".")[1] for m in modules if "." in m and m != f"{package}.__main__"}
    assert set(parts.values()) == set(level), "every folder has its place in the flow"
    wrong = [
        f"{module} imports {other}"
        for module, others in _imports(modules).items()
        for other in others
        if module in parts and other in parts and level[parts[other]] > level[parts[module]]
    ]
    assert not wrong


def test_the_core_knows_nothing_of_the_page() -> None:
    for module, path in _modules("genptq_core").items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named = {base.split(".")[0] for base, _, _ in _bases(tree, module, False)}
        assert not named & {"streamlit", "plotly"}, module


def test_solving_needs_no_torch() -> None:
    """Nor do reading a profile, drawing and the page: only work does."""
    modules = _modules("genptq_core")
    for module in modules:
        if module.split(".")[1:2] in (["allocation"], ["bitmaps"], ["targets"], ["profile"]):
            tree = ast.parse(modules[module].read_text(encoding="utf-8"))
            named = {base.split(".")[0] for base, _, _ in _bases(tree, module, False)}
            assert not named & SLOW, module


def test_calls_can_be_read() -> None:
    """Nothing is given more than five things by position: past that, each has its name."""
    wrong = []
    for package in ("genptq_core", "dashboard"):
        for module, path in _modules(package).items():
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and len(node.args) > 5:
                    wrong.append(f"{module}:{node.lineno} calls {ast.unparse(node.func)}")
    assert not wrong
