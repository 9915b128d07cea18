"""What comes from outside is shown letter by letter."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.wording import markdown
from tests.dashboard.conftest import ROOT


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("*a* _b_ $x$", "\\*a\\* \\_b\\_ \\$x\\$"),
        ("<b>x</b>", "\\<b\\>x\\<\\/b\\>"),
        ("see http://a.example/x now", "see `http://a.example/x` now"),
        ("WWW.a.example", "`WWW.a.example`"),
        ("me@a.example", "`me@a.example`"),
        ("--port a->b >=", "`--port` `a->b` `>=`"),
        ("![p](http://a.example)", "\\!\\[p\\]\\(http\\:\u2060\\/\\/a\\.example\\)"),
        ("`http://a.example", "\\`http\\:\u2060\\/\\/a\\.example"),
        ("two\nlines\n\n# head", "two lines \\# head"),
    ],
)
def test_markup_from_outside_is_escaped(text: str, shown: str) -> None:
    assert markdown(text) == shown


@given(st.text(alphabet="ab:/w.@-<>[]`\\\\| \n*_$") | st.text())
def test_no_link_is_left_in_any_text(text: str) -> None:
    outside_code = re.sub(r"(?<!\\)`[^`]*`", "", markdown(text)).replace("\\", "")
    assert not re.search(r"://|www\.|[^ ]@\w", outside_code, re.IGNORECASE)


def test_every_error_goes_through_one_function() -> None:
    views = [ROOT / "dashboard" / "app.py", *sorted((ROOT / "dashboard" / "views").glob("*.py"))]
    for path in views:
        raw = [
            node.lineno
            for node in ast.walk(ast.parse(Path(path).read_text(encoding="utf-8")))
            if isinstance(node, ast.Attribute) and node.attr in ("error", "exception", "warning")
        ]
        assert not raw or path.name == "failure.py", f"{path.name}: lines {raw}"
