"""Requests as the queue keeps them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from dashboard.jobs.queue import (
    DONE,
    Queue,
)
from dashboard.jobs.requests import (
    ComputeProfile,
    Explore,
    Request,
    from_json,
    kind_of,
    to_json,
)
from genptq_core.errors import StoreError
from genptq_core.storage.json_files import sealed, unsealed

from .conftest import COMPUTE, REQUEST, transcribe_request

EXPLORE = Explore("profile", "d" * 64, "gguf", "m.jsonl", None, 7.5)


@pytest.mark.parametrize(
    "request_",
    [
        REQUEST,
        replace(transcribe_request("/a/b.wav"), said="what I said", owner="me"),
        COMPUTE,
        EXPLORE,
    ],
)
def test_every_kind_of_request_comes_back(queue: Queue, request_: Request) -> None:
    queue.add(request_)
    taken = queue.claim()
    assert taken is not None and taken.request == request_
    queue.finish(taken.id, DONE, result={"full": "a", "picked": "b"})
    assert queue.jobs()[0].result == {"full": "a", "picked": "b"}


@pytest.mark.parametrize(
    ("request_", "field", "value"),
    [
        (REQUEST, "utterances", "8"),
        (REQUEST, "utterances", 8.5),
        (REQUEST, "utterances", True),
        (REQUEST, "label", None),
        (REQUEST, "profile", 7),
        (REQUEST, "options", "3/64"),
        (REQUEST, "options", ["3/64", 4]),
        (REQUEST, "options", ["3/64", "99"]),
        (REQUEST, "unknown", 1),
        (COMPUTE, "rates", [float("nan")]),
        (COMPUTE, "rates", [float("inf")]),
        (COMPUTE, "rates", ["2.25"]),
        (COMPUTE, "rates", [True]),
        (COMPUTE, "bits", [3.0001]),
        (COMPUTE, "draws", float("nan")),
        (EXPLORE, "minutes", "30"),
        (EXPLORE, "minutes", float("inf")),
    ],
)
def test_a_request_with_a_wrong_field_is_an_error(
    request_: Request, field: str, value: object
) -> None:
    """Its seal is right: who writes such a file can make that too."""
    kind = kind_of(request_)
    fields = unsealed(json.loads(to_json(request_)))
    assert from_json(kind, json.dumps(sealed(fields))) == request_
    with pytest.raises(StoreError, match=f"kind '{kind}' in the queue is damaged") as caught:
        from_json(kind, json.dumps(sealed({**fields, field: value})))
    assert field in str(caught.value) and "\n" not in str(caught.value)


def test_a_request_without_a_field_or_of_no_kind_is_an_error() -> None:
    fields = unsealed(json.loads(to_json(REQUEST)))
    with pytest.raises(StoreError, match="sing"):
        from_json("sing", to_json(REQUEST))
    del fields["manifest"]
    with pytest.raises(StoreError, match="manifest"):
        from_json("measure", json.dumps(fields))


def test_whole_numbers_stay_whole_when_a_request_is_written_again() -> None:
    text = to_json(ComputeProfile("m", "m.jsonl", None, "out"))
    assert to_json(from_json("profile", text)) == text
