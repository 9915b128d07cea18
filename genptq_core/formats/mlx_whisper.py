"""MLX exports of Whisper as models that transcribe: mlx-audio's modules, decoded greedily.

Activations are float32: without Apple's GPU, MLX is dozens of times slower at 16 bit. Features
are computed, and tokens chosen, as for the model that was exported, so texts are those measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..errors import ExportError, GenPTQError
from ..extras import install_command
from ..models import SpeechModel
from ..models.folders import check_folder, check_rate, stored_tensors, whole_reason
from ..models.whisper import require_settings
from ..models.whisper_settings import WhisperSettings, settings_of
from .mlx_names import POSITIONS, WEIGHTS
from .transcriber import WhisperTranscriber


@dataclass(frozen=True)
class Encoded:
    """Encoder states of a batch: shape (batch, frames, features), float32."""

    states: np.ndarray

    def __getitem__(self, part: slice) -> Encoded:
        return Encoded(self.states[part])

    def __len__(self) -> int:
        return len(self.states)


def load(folder: Path, name: str) -> SpeechModel:
    """Load an export with MLX; it can transcribe, nothing else.

    Raises:
        ExportError: a package is missing, or cannot read it.
    """
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperTokenizer,
    )

    config = check_folder(folder)
    require_settings(folder)
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        features = WhisperFeatureExtractor.from_pretrained(folder, **options)
        said = WhisperConfig.from_pretrained(folder, **options)
        check_rate(str(folder), features)
        _check_sizes(folder, said, features)
        module = _module(folder, config)
        tokenizer = WhisperTokenizer.from_pretrained(folder, **options)
        generation = GenerationConfig.from_pretrained(folder, local_files_only=True)
        settings = settings_of(name, said, generation, tokenizer.get_vocab())
    except GenPTQError:
        raise
    except ImportError as error:
        raise ExportError(
            f"Reading {folder} needs a package that is not installed ({error.name}).",
            install_command("mlx"),
        ) from error
    except Exception as error:  # the libraries raise whatever they meet, some of it bare
        reason = whole_reason(error)
        raise ExportError(f"{folder} cannot be loaded ({reason}).", "Export it again.") from error
    model = MlxWhisper(
        name=name, module=module, settings=settings, features=features, tokenizer=tokenizer
    )
    return cast(SpeechModel, model)


def _check_sizes(folder: Path, config: Any, features: Any) -> None:
    """Make sure, before memory is taken, that settings are of the weights and of the features.

    Raises:
        ValueError: they are not.
    """
    stored = stored_tensors(folder)
    shape = (config.max_target_positions, config.d_model)
    if POSITIONS not in stored or stored[POSITIONS].shape != shape:
        raise ValueError(f"its weights have no {POSITIONS} of {shape[0]} x {shape[1]}")
    bands, frames = int(features.feature_size), int(features.nb_max_frames)
    if bands != config.num_mel_bins or frames != 2 * config.max_source_positions:
        raise ValueError(
            f"it hears {config.num_mel_bins} mel bands and {2 * config.max_source_positions} "
            f"frames, and its features have {bands} and {frames}"
        )


def _module(folder: Path, config: dict[str, Any]) -> Any:
    """mlx-audio's Whisper with a folder's weights, float32 where they are not codes."""
    import mlx.core as mx
    from mlx_audio.stt.models.whisper.whisper import Model, ModelDimensions
    from mlx_audio.utils import apply_quantization

    module = Model(ModelDimensions.from_dict(config), mx.float32)
    weights = module.sanitize(mx.load(str(folder / WEIGHTS)))
    apply_quantization(module, config, weights)
    module.load_weights(list(weights.items()), strict=True)
    module.eval()
    mx.eval(module.parameters())
    return module


class MlxWhisper(WhisperTranscriber):
    """A Whisper in MLX: of `SpeechModel` it has `encode` and `transcribe` only."""

    kind = "an MLX export"

    def __init__(
        self, *, name: str, module: Any, settings: WhisperSettings, features: Any, tokenizer: Any
    ) -> None:
        vocabulary = int(module.dims.n_vocab)
        super().__init__(name, settings, vocabulary, features, tokenizer)
        self._module = module

    def encode(self, audio: Sequence[np.ndarray]) -> Encoded:
        """Log-mel features through the encoder."""
        import mlx.core as mx

        features = self.log_mel(audio).swapaxes(1, 2)
        states = [np.array(self._module.encoder(mx.array(one[None]))) for one in features]
        return Encoded(np.concatenate(states))

    def step(
        self, tokens: np.ndarray, encoded: Encoded, past: Sequence[Any] | None = None
    ) -> tuple[np.ndarray, list[Any]]:
        """Decode one or more tokens of each row."""
        import mlx.core as mx

        states = mx.array(encoded.states)
        logits, kept, _ = self._module.decoder(
            mx.array(tokens.astype(np.int32)), states, kv_cache=list(past) if past else None
        )
        return np.array(logits), kept
