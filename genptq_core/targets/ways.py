"""Ways to run a map: a target's folder in a runtime, as it is or unpacked into one of its forms.

Each has a download (the folder that is shipped), the weights in it, and what they take in memory.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import PROGRAM, ConstraintError, InfeasibleError
from ..options import Option
from . import TARGETS, Target, counts_all, overhead, predicted_bytes, target_of
from . import native as native_format
from .runtimes import GENPTQ, RUNTIMES, Form, Runtime

if TYPE_CHECKING:
    from ..profile import Profile


@dataclass(frozen=True)
class Sizes:
    """How large a map is in one way to run it.

    Attributes:
        download: bytes of the folder that is shipped; None where the profile does not know what it
            takes besides the weights.
        weights: bytes of the tensors in it.
        memory: bytes of all weights as the runtime holds them once it has loaded them.
    """

    download: int | None
    weights: int
    memory: int


@dataclass(frozen=True)
class Way:
    """A target's folder in a runtime.

    Attributes:
        target: what is written, and shipped.
        runtime: what runs it.
        form: what the folder is unpacked into before; None if the runtime reads it as it is.
    """

    target: Target
    runtime: Runtime
    form: Form | None = None

    @property
    def name(self) -> str:
        """As `--runs-in` takes it."""
        return self.runtime.name + (f":{self.form.name}" if self.form else "")

    @property
    def title(self) -> str:
        """As the page names it."""
        if self.form is None:
            return self.runtime.title
        return f"{self.runtime.title}, unpacked to {self.form.title}"

    def memory(self, profile: Profile, options: Sequence[Option]) -> int:
        """Bytes of all weights of a map in memory."""
        if self.form:
            return self.form.memory(profile)
        return self.runtime.memory(profile, self.target, options)

    def memories(
        self, profile: Profile, maps: Sequence[Sequence[Option]], sizes: Sequence[int]
    ) -> list[int]:
        """Bytes of all weights in memory, of maps whose sizes are known; see `memory`."""
        if not maps:
            return []
        if not self.bounds_map:
            return [self.memory(profile, maps[0])] * len(maps)
        if self.runtime.unit_memory is None:  # as the file stores them
            besides = sizes[0] - self.memory(profile, maps[0])
            return [size - besides for size in sizes]
        return [self.memory(profile, options) for options in maps]

    def sizes(self, profile: Profile, options: Sequence[Option]) -> Sizes:
        """Download, weights and memory of a map."""
        size = predicted_bytes(self.target, profile, options)
        return Sizes(
            download=size if counts_all(self.target, profile) else None,
            weights=size - overhead(self.target, profile),
            memory=self.memory(profile, options),
        )

    @property
    def bounds_map(self) -> bool:
        """Whether memory depends on the map."""
        return self.form is None and self.runtime.name not in (GENPTQ, "transformers")


def ways_for(target: Target, family: str, writable: Container[str] = ()) -> tuple[Way, ...]:
    """Every way to run a target's folder of a model: as it is first, then unpacked.

    Args:
        target: what is written.
        family: the model's family.
        writable: targets that it can be written for, as far as they are known.
    """
    fit = [runtime for runtime in RUNTIMES.values() if runtime.runs(family)]
    direct = [Way(target, runtime) for runtime in fit if target.name in runtime.targets]
    unpacked = [
        Way(target, runtime, form)
        for runtime in fit
        if target.format == native_format.NAME
        for form in runtime.forms
        if form.takes(family, writable)
    ]
    return (*direct, *unpacked)


def ways_of(profile: Profile, target: Target) -> tuple[Way, ...]:
    """Every way to run a target's folder of a profile's model; see `ways_for`."""
    return ways_for(target, profile.source.family, profile.source.overhead)


def named_way(profile: Profile, target: Target, name: str) -> Way | None:
    """The way to run a target's folder that `Way.name` gives; the usual one if "" or no such.

    None where nothing runs it.
    """
    ways = ways_of(profile, target)
    return next((way for way in ways if way.name == name), ways[0] if ways else None)


def way_of(
    profile: Profile,
    target: str | None = None,
    runs_in: str | None = None,
    memory: int | None = None,
) -> Way:
    """The way to run a target's folder that is asked for.

    Args:
        profile: of the model.
        target: name of the target; the native one if None.
        runs_in: `RUNTIME` or `RUNTIME:FORM`; the usual one if None or "".
        memory: most bytes that the weights may take in memory: without a form, the widest is
            taken that fits.

    Raises:
        ConstraintError: there is no such way; those that there are are named.
        InfeasibleError: no map runs in so little memory this way.
    """
    form = target_of(target)
    ways = ways_of(profile, form)
    if not ways:
        raise ConstraintError(
            f"Nothing that is known runs {form.name!r} of {profile.source.family!r} models.",
            f"Targets: {', '.join(TARGETS)}.",
        )
    name, colon, wanted = (runs_in or "").partition(":")
    fit = [way for way in ways if not name or way.runtime.name == name]
    if not name:
        fit = fit[:1]
    if colon:
        fit = [way for way in fit if way.form is not None and way.form.name == wanted]
    if not fit:
        raise ConstraintError(
            f"{runs_in!r} does not run the target {form.name!r}.",
            f"What does: {', '.join(dict.fromkeys(way.name for way in ways))}.",
        )
    if memory is None or fit[0].bounds_map:
        return fit[0]
    # The map does not matter here, so any map tells.
    sizes = {way.name: way.memory(profile, _any_map(profile)) for way in fit}
    for way in fit:
        if sizes[way.name] <= memory:
            return way
    least = min(sizes.values())
    named = next(name for name, size in sizes.items() if size == least)
    raise InfeasibleError(
        f"{memory / 1e6:.2f} MB of memory do not hold the weights in {named}, which take "
        f"{least / 1e6:.2f} MB.",
        _elsewhere(profile, ways, memory),
        smallest=least,
    )


def _elsewhere(profile: Profile, ways: Sequence[Way], memory: int) -> str:
    """What to do where a runtime takes too much memory."""
    for way in ways:
        if not way.bounds_map and way.memory(profile, _any_map(profile)) <= memory:
            return f"Allow as much, or take --runs-in {way.name}."
    return f"Allow as much; a target with types of its own may take less: {PROGRAM} solve --help."


def _any_map(profile: Profile) -> tuple[Option, ...]:
    return (Option(16),) * len(profile.units)


def in_words(sizes: Sizes, way: Way) -> str:
    """Download, weights and memory as a clause."""
    shipped = f"{sizes.weights / 1e6:.2f} MB of weights"
    if sizes.download is None:
        shipped += " (what else the folder takes is not known to this profile)"
    else:
        shipped = f"{sizes.download / 1e6:.2f} MB to download, {shipped}"
    return f"{shipped}; {sizes.memory / 1e6:.2f} MB of weights in memory, in {way.name}"


def as_fields(sizes: Sizes, way: Way) -> dict[str, int | str | None]:
    """Download, weights and memory as `--json` prints them, bytes."""
    return {
        "download": sizes.download,
        "weights": sizes.weights,
        "memory": sizes.memory,
        "runs_in": way.name,
    }
