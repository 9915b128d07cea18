"""Background work waits for answers, and goes on after them."""

from __future__ import annotations

import threading

import pytest

from dashboard.page import turns


def test_work_waits_while_an_answer_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "LONGEST", 1e6)
    monkeypatch.setattr(turns, "CALM", 0.01)
    both = turns.Turns()
    done = threading.Event()

    def work() -> None:
        both.wait()
        done.set()

    worker = threading.Thread(target=work)
    with pytest.raises(RuntimeError), both.answering():
        with both.answering():  # a part of the page is drawn within the whole
            worker.start()
        assert not done.wait(0.1)
        raise RuntimeError("an answer that fails is over too")
    assert done.wait(60)
    worker.join()


def test_work_is_not_put_off_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "LONGEST", 0.01)
    both = turns.Turns()
    with both.answering():
        both.wait()
