"""What our own processes do not import with transformers is there when it is asked for."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from genptq_core.loading import load_model
from genptq_core.models import lean_imports
from tests.conftest import ROOT

SLOW = "made_up_compiler"


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package that notes each of its modules that runs, in place of PyTorch's compiler."""
    package = tmp_path / SLOW
    package.mkdir()
    note = "import sys; sys.ran = [*getattr(sys, 'ran', []), __name__]\n"
    (package / "__init__.py").write_text(f"{note}from . import parts\nanswer = 42\n")
    (package / "parts.py").write_text(note)
    (package / "other.py").write_text(note)
    (package / "later.py").write_text(f"{note}def doubled(x): return 2 * x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(lean_imports, "_COMPILER", SLOW)
    monkeypatch.setattr(lean_imports, "_LATER", ((f"{SLOW}.later", "doubled"),))
    monkeypatch.setattr(sys, "ran", [], raising=False)
    yield package
    for name in [name for name in sys.modules if name.partition(".")[0] == SLOW]:
        del sys.modules[name]


def ran() -> list[str]:
    """The modules of the package that ran, in order."""
    return list(sys.ran)  # type: ignore[attr-defined]


def test_what_is_known_of_a_module_does_not_import_it(slow: Path) -> None:
    with lean_imports._stand_ins():
        import made_up_compiler as compiler  # type: ignore[import-not-found]
        from made_up_compiler.later import doubled  # type: ignore[import-not-found]

        @compiler.allow_in_graph
        def one() -> int:
            return 1

        @compiler.disable(recursive=False)
        def two() -> int:
            return 2

        assert (one(), two(), ran()) == (1, 2, [])
        assert not hasattr(compiler, "__wrapped__")  # what Python looks for is no question to it
    assert SLOW not in sys.modules and ran() == []
    assert doubled(21) == 42 and ran() == [SLOW, f"{SLOW}.parts", f"{SLOW}.later"]
    assert compiler.answer == 42  # by a module that holds the stand-in


def test_anything_else_of_it_does(slow: Path) -> None:
    with lean_imports._stand_ins():
        from made_up_compiler import answer

        assert answer == 42 and ran() == [SLOW, f"{SLOW}.parts"]
        import made_up_compiler

        assert not isinstance(made_up_compiler, lean_imports._StandIn)


@pytest.mark.parametrize("submodule", ["parts", "other"])
def test_a_submodule_runs_once_and_after_its_parent(slow: Path, submodule: str) -> None:
    with lean_imports._stand_ins():
        __import__(f"{SLOW}.{submodule}")
    expected = [SLOW, f"{SLOW}.parts", *([f"{SLOW}.other"] if submodule == "other" else [])]
    assert ran() == expected
    module = sys.modules[f"{SLOW}.{submodule}"]
    assert module is getattr(sys.modules[SLOW], submodule)
    assert module.__spec__ is not None and module.__spec__.origin == str(slow / f"{submodule}.py")


def test_a_module_that_is_there_stays(slow: Path) -> None:
    module = __import__(SLOW)
    with lean_imports._stand_ins():
        assert sys.modules[SLOW] is module
    assert sys.modules[SLOW] is module


def test_a_process_of_the_program_s_own_computes_the_same() -> None:
    code = (
        "import hashlib, numpy as np, torch\n"
        "from genptq_core.models import lean_imports\n"
        "lean_imports.in_own_process()\n"
        "from genptq_core.loading import load_model\n"
        "states = load_model('whisper-tiny.en').encode([np.zeros(16000, np.float32)]).states\n"
        "print(hashlib.sha256(states.detach().numpy().tobytes()).hexdigest())\n"
        "print(torch.distributed.is_available())\n"
        "import torch._dynamo\n"
        "print(len(torch._dynamo.list_backends()) > 0)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    states = load_model("whisper-tiny.en").encode([np.zeros(16000, np.float32)]).states
    digest = hashlib.sha256(states.detach().numpy().tobytes()).hexdigest()
    available = str(torch.distributed.is_available())
    assert said == [digest, available, "True"]
