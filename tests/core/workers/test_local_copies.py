"""A worker's own copies: the model that was asked for, its decoding with it, or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from genptq_core.errors import ModelError
from genptq_core.loading import load_model
from genptq_core.models.decoding import FALLBACK, with_decoding
from genptq_core.workers.local_copies import identity_of, local_model


def test_a_worker_decodes_as_it_is_asked_to(random_whisper: Path) -> None:
    name = str(random_whisper)
    plain = load_model(name)
    for model in (plain, with_decoding(plain, FALLBACK)):
        copy = local_model(name, identity_of(model), "cpu")
        assert (copy.decoding, copy.text_digest) == (model.decoding, model.text_digest)
    with pytest.raises(ModelError, match="other weights, or another tokenizer"):
        local_model(name, f"{plain.digest}/another", "cpu")
