"""Patterns of layer names, matched in time linear in the name.

A safe part of regular expressions: literals, `.`, escapes, character classes, groups with
alternatives, the repetitions `*`, `+` and `?`, and anchors. Python's own matcher would take
exponential time on patterns such as `(a+)+b`; this one follows all ways through a pattern at once.
What it does not know is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

LONGEST = 256
"""Characters that a pattern may have."""

_SPECIAL = frozenset("\\^$*+?{}[]()|")
_CLASSES = {"d": "0-9", "w": "A-Za-z0-9_", "s": " \t\n"}
_Test = Callable[[str], bool]


def is_pattern(name: str) -> bool:
    """Whether a name is a pattern: it has a character, besides the dot, that no module has."""
    return not _SPECIAL.isdisjoint(name)


@dataclass
class _State:
    """A place in a pattern: what a character leads to, and what is reached without one."""

    test: _Test | None = None
    after: int = -1
    free: list[int] = field(default_factory=list)
    at_end: int = -1  # reached at the end of the name alone
    at_start: int = -1  # reached at its start alone


class Pattern:
    """A pattern that may match anywhere in a name, as AutoRound's do.

    Args:
        text: the pattern.

    Raises:
        ValueError: it is too long, malformed, or has something that is not known; says what.
    """

    def __init__(self, text: str) -> None:
        if len(text) > LONGEST:
            raise ValueError(f"it has {len(text)} characters; {LONGEST} are allowed")
        self._text = text
        self._at = 0
        self._states: list[_State] = []
        start, end = self._alternatives()
        if self._at < len(text):
            raise ValueError("a ) closes nothing")
        self._start, self._end = start, end
        self._steps: dict[tuple[frozenset[int], str], frozenset[int]] = {}

    def matches(self, name: str) -> bool:
        """Whether some part of a name matches."""
        here = self._reached({self._start}, at_start=True, at_end=not name)
        for place, character in enumerate(name):
            if self._end in here:
                return True
            last = place + 1 == len(name)
            key = (here, character + "$" * last)
            if key not in self._steps:
                after = {
                    state.after
                    for state in (self._states[index] for index in here)
                    if state.test is not None and state.test(character)
                }
                self._steps[key] = self._reached(after | {self._start}, at_start=False, at_end=last)
            here = self._steps[key]
        return self._end in here

    def _reached(self, states: set[int], *, at_start: bool, at_end: bool) -> frozenset[int]:
        """These states and all that are reached from them without a character."""
        found, left = set(states), list(states)
        while left:
            state = self._states[left.pop()]
            onward = [*state.free]
            onward += [state.at_start] if at_start and state.at_start >= 0 else []
            onward += [state.at_end] if at_end and state.at_end >= 0 else []
            left += [index for index in onward if index not in found]
            found.update(onward)
        return frozenset(found)

    def _new(self) -> int:
        self._states.append(_State())
        return len(self._states) - 1

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        self._at += 1
        return self._text[self._at - 1 : self._at]

    def _alternatives(self) -> tuple[int, int]:
        """First and last state of alternatives, up to a bracket or the end."""
        start, end = self._new(), self._new()
        while True:
            first, last = self._sequence()
            self._states[start].free.append(first)
            self._states[last].free.append(end)
            if self._peek() != "|":
                return start, end
            self._take()

    def _sequence(self) -> tuple[int, int]:
        start = last = self._new()
        while self._peek() not in ("", "|", ")"):
            first, end = self._repeated(*self._atom())
            self._states[last].free.append(first)
            last = end
        return start, last

    def _repeated(self, first: int, last: int) -> tuple[int, int]:
        """What was read, repeated as the next character says."""
        sign = self._peek()
        if sign == "{":
            raise ValueError("it repeats with {}, which is not known here")
        if not sign or sign not in "*+?":
            return first, last
        self._take()
        if self._peek() == "?":  # as few as possible: matches the same names
            self._take()
        if self._peek() and self._peek() in "*+?":
            raise ValueError(f"nothing stands before {self._peek()}")
        start, end = self._new(), self._new()
        self._states[start].free += [first] if sign == "+" else [first, end]
        self._states[last].free += [end] if sign == "?" else [end, first]
        return start, end

    def _atom(self) -> tuple[int, int]:
        character = self._take()
        if character == "(":
            if self._text.startswith("?:", self._at):
                self._at += 2
            elif self._peek() == "?":
                raise ValueError("it has a group with (?, which is not known here")
            inner = self._alternatives()
            if self._take() != ")":
                raise ValueError("a ( is not closed")
            return inner
        if character in "*+?{}":
            raise ValueError(f"nothing stands before {character}")
        first, last = self._new(), self._new()
        state = self._states[first]
        if character == "^":
            state.at_start = last
        elif character == "$":
            state.at_end = last
        else:
            state.after, state.test = last, self._test(character)
        return first, last

    def _test(self, character: str) -> _Test:
        """Which characters one place in the pattern takes."""
        if character == ".":
            return lambda _: True
        if character == "[":
            inner = self._class()
        elif character == "\\":
            inner = self._escaped()
        else:
            return character.__eq__
        try:
            one = re.compile(f"[{inner}]")
        except re.error as error:
            raise ValueError(str(error)) from None
        return lambda other: one.match(other) is not None

    def _escaped(self) -> str:
        """What an escape stands for, as it is written in a class."""
        character = self._take()
        if character in _CLASSES:
            return _CLASSES[character]
        if not character or character.isalnum():
            raise ValueError(f"it has \\{character}, which is not known here")
        return re.escape(character)

    def _class(self) -> str:
        """The inside of a character class, written again without anything special."""
        inner = "^" if self._peek() == "^" else ""
        self._at += len(inner)
        parts: list[str] = []
        while (character := self._take()) != "]" or not parts:
            if not character:
                raise ValueError("a [ is not closed")
            range_sign = character == "-" and parts and self._peek() not in ("]", "")
            if character == "\\":
                parts.append(self._escaped())
            else:
                parts.append("-" if range_sign else re.escape(character))
        return inner + "".join(parts)
