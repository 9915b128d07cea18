"""Installing: every version is said alike wherever it is said, and the wheel works by itself."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from genptq_core.extras import EMBEDDED_MODEL, EXTRAS, install_command
from tests.conftest import ROOT

BUILD = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = BUILD["project"]


def requirements(name: str) -> set[str]:
    """The requirements in a file of the root, comments and included files left out."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    stripped = {line.partition("#")[0].strip() for line in lines}
    return {line for line in stripped if line and not line.startswith("-r ")}


def test_the_dependencies_are_those_of_the_requirements() -> None:
    assert set(PROJECT["dependencies"]) == requirements("requirements.txt")
    assert EMBEDDED_MODEL in PROJECT["dependencies"]


def test_the_extras_are_those_of_the_hints_and_of_development() -> None:
    extras = {name: tuple(pins) for name, pins in PROJECT["optional-dependencies"].items()}
    itself, *tools = extras.pop("dev")
    assert extras == EXTRAS
    # A model of 150 MB is for benchmarks; tests that need it say so where it is absent.
    base = extras.pop("base")
    assert set(base) <= requirements("requirements-bench.txt")
    assert itself == f"{PROJECT['name']}[{','.join(sorted(extras))}]"
    optional = {pin for pins in extras.values() for pin in pins}
    assert optional | set(tools) == requirements("requirements-dev.txt")
    assert set(BUILD["build-system"]["requires"]) <= set(tools)
    assert install_command("onnx") == f"pip install {' '.join(EXTRAS['onnx'])}"


def test_every_package_has_one_version() -> None:
    files = sorted(path.name for path in ROOT.glob("requirements*.txt"))
    versions: dict[str, str] = {}
    for name in files:
        for pin in requirements(name):
            match = re.fullmatch(r"([A-Za-z0-9._-]+(?:\[[a-z]+\])?)==([0-9][0-9a-z.]*)", pin)
            assert match, f"{name}: {pin} names no exact version"
            package, version = match.groups()
            assert versions.setdefault(package, version) == version, f"{name}: {pin}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without the network."""
    pytest.importorskip("hatchling", reason="pip install -r requirements-dev.txt")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(ROOT)], check=True)
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the program as the wheel installs it."""
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", str(folder), str(wheel)], check=True)
    return folder


def run(installed: Path, cwd: Path, *arguments: str) -> str:
    """Standard output of Python with the installed program, started in another folder."""
    completed = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


@pytest.mark.slow
def test_the_wheel_holds_what_runs_and_what_ships_and_no_more(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        str(path.relative_to(ROOT))
        for package in ("genptq_core", "dashboard")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"dashboard/charts/plot.js", "dashboard/.streamlit/config.toml"} <= expected
    shipped = {
        f"genptq_core/{path.relative_to(ROOT)}"
        for path in (ROOT / "data").rglob("*")
        if path.is_file()
        and path.suffix in (".flac", ".json", ".jsonl", ".md", ".safetensors", ".txt")
    }
    assert {name for name in names if ".dist-info/" not in name} == expected | shipped


@pytest.mark.slow
def test_the_installed_command_finds_profiles_and_models_that_ship(
    installed: Path, tmp_path: Path
) -> None:
    solve = ("solve", "--profile", "whisper-tiny.en", "--size-mb", "20", "--json")
    for program in (["-m", "genptq_core"], [str(installed / "bin" / "genptq")]):
        assert json.loads(run(installed, tmp_path, *program, *solve))["bytes"] <= 20e6
    checked = json.loads(run(installed, tmp_path, "-m", "genptq_core", "doctor", "--json"))
    assert checked["problems"] == []
    assert (
        str(installed / "genptq_core" / "data" / "profiles" / "conformer-an4")
        in (checked["checked"])
    )
    code = "from genptq_core import load_model; print(load_model('conformer-an4').name)"
    assert run(installed, tmp_path, "-c", code) == "conformer-an4\n"


@pytest.mark.slow
def test_the_installed_page_draws(installed: Path, tmp_path: Path) -> None:
    code = (
        "from genptq_core.cli.dashboard import PAGE; "
        "from streamlit.testing.v1 import AppTest; "
        "page = AppTest.from_file(str(PAGE), default_timeout=120).run(); "
        "print(PAGE, len(page.exception), len(page.error), page.title[0].value)"
    )
    page = installed / "dashboard" / "app.py"
    assert run(installed, tmp_path, "-c", code).splitlines()[-1] == f"{page} 0 0 GenPTQ Explorer"
