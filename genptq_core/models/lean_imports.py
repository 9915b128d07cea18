"""Importing transformers without what no recognizer needs.

With its first model, transformers imports PyTorch's compiler, tensors that are spread over machines
and SciPy's optimizers: more than half of the time that its import takes. A process of the program's
own does without. Elsewhere all is imported as usual: another program may need it.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

_FIRST = "transformers.models.whisper.modeling_whisper"  # imports what all models share

_COMPILER = "torch._dynamo"
_MARKS = ("allow_in_graph", "assume_constant_result", "disable")
_LATER = (
    (f"{_COMPILER}._trace_wrapped_higher_order_op", "TransformGetItemToIndex"),
    ("scipy.optimize", "linear_sum_assignment"),
)

_own = False


def in_own_process() -> None:
    """Say that this process runs this program and nothing else."""
    global _own
    _own = True


def import_transformers() -> None:
    """Import what all models of transformers share; lean in a process of the program's own."""
    if not _own or "transformers" in sys.modules:
        import_module(_FIRST)
        return
    with _uncollected():
        import torch.distributed

        with _stand_ins(), _not_distributed(torch.distributed):
            import_module("transformers")
            with _listed_once():
                import_module(_FIRST)


class _StandIn(ModuleType):
    """In place of a module that is not imported yet.

    Who asks for more than what is known of it makes all stand-ins go, and gets the module's own.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []  # else nobody would look for its submodules

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        _remove_stand_ins()
        return getattr(import_module(self.__name__), name)


class _Submodules(MetaPathFinder, Loader):
    """Finds submodules of stand-ins: those of the module itself, which is imported for it."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        parent = name.rpartition(".")[0]
        if not isinstance(sys.modules.get(parent), _StandIn):
            return None
        _remove_stand_ins()
        import_module(parent)
        if name not in sys.modules:
            return find_spec(name)
        found = sys.modules[name]
        spec = ModuleSpec(name, self, loader_state=found.__spec__)
        found.__spec__ = None  # else it would be run again by its own
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """What importing the parent has imported already."""
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: it has run."""
        if module.__spec__ is not None:
            module.__spec__ = module.__spec__.loader_state


@contextmanager
def _stand_ins() -> Iterator[None]:
    """While active, modules that no recognizer needs are not imported for what is known of them."""
    finder = _Submodules()
    sys.meta_path.insert(0, finder)
    for name, known in ((_COMPILER, dict.fromkeys(_MARKS, _unmarked)), *map(_later, _LATER)):
        if name not in sys.modules:
            sys.modules[name] = _StandIn(name)
            vars(sys.modules[name]).update(known)
    try:
        yield
    finally:
        _remove_stand_ins()
        sys.meta_path.remove(finder)


def _remove_stand_ins() -> None:
    for name, module in list(sys.modules.items()):
        if type(module) is _StandIn:
            del sys.modules[name]


def _later(of: tuple[str, str]) -> tuple[str, dict[str, Any]]:
    """A module, and a function in it that imports it when it is called."""
    module, name = of

    def call(*values: Any, **named: Any) -> Any:
        return getattr(import_module(module), name)(*values, **named)

    return module, {name: call}


def _unmarked(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Any:
    """A decorator that tells the compiler nothing: nothing is compiled here."""
    return function or (lambda decorated: decorated)


@contextmanager
def _not_distributed(distributed: Any) -> Iterator[None]:
    """While active, PyTorch says that it was built for one machine, which transformers supports."""
    usual = distributed.is_available
    distributed.is_available = lambda: False
    try:
        yield
    finally:
        distributed.is_available = usual


@contextmanager
def _listed_once() -> Iterator[None]:
    """While active, transformers takes the list of its models that it has made already.

    It keeps the list, but asks for it by the name of another file, and reads 3,000 files again.
    """
    lists: Any = import_module("transformers.utils.import_utils")
    usual = lists.create_import_structure_from_path
    lists.create_import_structure_from_path = lambda path: usual(
        Path(path).parent if Path(path).name == "__init__.py" else path
    )
    try:
        yield
    finally:
        lists.create_import_structure_from_path = usual


@contextmanager
def _uncollected() -> Iterator[None]:
    """While active, no garbage is looked for: imports make a million objects, and all of them stay.

    They are not looked through later either.
    """
    usual = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if usual:
            gc.enable()
