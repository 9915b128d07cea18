"""The report: one file, with nothing fetched and nothing of a file's text as markup."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

from dashboard.report.html import Report, Table, to_html

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)> & \u2028 \"'"


class _Page(HTMLParser):
    """The tags of a page, their attributes, and its text outside scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] != "script":
            self.text += data


def _report() -> Report:
    return Report(
        title=EVIL,
        summary=EVIL,
        figures=[(EVIL, EVIL)],
        table={"set": EVIL},
        pick={"notes": [EVIL]},
        tables=[Table(EVIL, [EVIL], [[EVIL], [7]])],
        commands=[(EVIL, EVIL)],
        notes=[EVIL],
    )


def test_texts_are_texts() -> None:
    page = _Page(to_html(_report()))
    names = [tag for tag, _ in page.tags]
    assert names.count("script") == 2
    assert "img" not in names
    # Title twice, summary, figure twice, table three times, command twice, note.
    assert page.text.count("alert(1)") >= 10
    assert all("onerror" not in attributes for _, attributes in page.tags)


def test_nothing_is_fetched() -> None:
    page = _Page(to_html(_report()))
    assert not [a for _, a in page.tags if {"src", "href"} & a.keys()]
    policy = next(a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv"))
    assert policy is not None and "default-src 'none'" in policy and "http" not in policy


def test_what_the_screen_shows_comes_back_as_it_was() -> None:
    text = to_html(_report())
    for name, value in (("TABLE", _report().table), ("PICK", _report().pick)):
        found = re.search(rf"const {name} = (.*?);\n", text)
        assert found is not None
        assert json.loads(found[1]) == value
    assert len(text) < 6_000_000
