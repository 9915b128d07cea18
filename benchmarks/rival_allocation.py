"""ModelOpt's allocation: the widths that NVIDIA's `auto_quantize` gives to a model's layers.

Its score of a layer at a width is the squared product of the loss's gradient and the change of
the layer's output, and a linear programme picks the widths. It runs here as its documentation
asks, on our widths and group size, with three choices to its advantage: labels are drawn from
the model's own distribution, for which its score is the Fisher information; a weight's cost
includes its share of scale and zero point, so it spends the same bytes as our own solver; and
query, key and value may differ, for nothing here fuses them (`fuse=True` puts its rule back).

The output projection is a layer like others to it, so its width is that of the tied embedding,
in one piece; what the width does to the decoder's input its score does not see. Its trial grids
are symmetric; the map it picks is then rounded by our quantizer.
"""

from __future__ import annotations

import contextlib
import copy
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.rival_libraries import need
from genptq_core.models import SpeechModel

UNQUANTIZED = 16
WIDTHS = (2, 3, 4, 5, 6, 8)


@dataclass(frozen=True)
class WidthSearch:
    """ModelOpt's scores of a model, from which the widths at any size follow.

    Attributes:
        group_size: weights that share a scale.
        state: what `auto_quantize` keeps of its search.
        parameters: parameter names by module name, of what is searched.
        weights: weights by parameter name.
        excluded: weights that it counts but may not touch (convolutions), at 16 bit.
    """

    group_size: int
    state: Mapping[str, Any]
    parameters: Mapping[str, str]
    weights: Mapping[str, int]
    excluded: int


def search_widths(
    model: SpeechModel,
    audio: Sequence[np.ndarray],
    group_size: int = 64,
    seed: int = 0,
    fuse: bool = False,
) -> WidthSearch:
    """Let ModelOpt score every layer at every width; about 8 s per utterance on one core.

    Args:
        model: the model; it is copied, not changed.
        audio: calibration recordings; no reference text is needed.
        group_size: weights that share a scale.
        seed: of the labels.
        fuse: keep its rule that query, key and value have one width.

    Raises:
        GenPTQError: nvidia-modelopt is not installed.
    """
    with _quietly():
        quantization = need("modelopt.torch.quantization", "nvidia-modelopt")
        algorithms = need("modelopt.torch.quantization.algorithms", "nvidia-modelopt")
    with torch.no_grad():
        transcripts = [model.transcribe(model.encode([samples]))[0] for samples in audio]
    tried = copy.deepcopy(model)
    parameters, excluded_names, excluded = _layers(tried)
    generator = torch.Generator().manual_seed(seed)

    def step(_: Any, index: int) -> Tensor:
        encoded = tried.encode([audio[index]])
        return tried.log_probs(tried.head_inputs(encoded, [transcripts[index]])[0])

    def loss(log_probs: Tensor, _: int) -> Tensor:
        labels = torch.multinomial(log_probs.detach().exp(), 1, generator=generator)
        return -log_probs.gather(1, labels).sum()

    with _quietly(), _rules(algorithms.AutoQuantizeGradientSearcher, fuse):
        _, state = quantization.auto_quantize(
            tried.module,
            constraints={"effective_bits": float(WIDTHS[-1])},
            quantization_formats=[_format(bits, group_size) for bits in WIDTHS],
            data_loader=list(range(len(audio))),
            forward_step=step,
            loss_func=loss,
            disabled_layers=excluded_names,
            num_calib_steps=1,  # weights need no calibration, but it insists on a step
            num_score_steps=len(audio),
        )
    weights = {name: model.module.get_parameter(name).numel() for name in parameters.values()}
    return WidthSearch(group_size, state, parameters, weights, excluded)


def widths_under(search: WidthSearch, room: int) -> dict[str, int] | None:
    """The widths that ModelOpt picks within a number of bytes.

    Args:
        search: its scores.
        room: bytes for all searched parameters, scales and zero points included.

    Returns:
        Width by parameter name, 16 where it leaves one alone; None if it finds nothing.
    """
    quantization = need("modelopt.torch.quantization", "nvidia-modelopt")
    weights = sum(search.weights.values()) + search.excluded
    bits = (8 * room + UNQUANTIZED * search.excluded) / weights
    with _quietly():
        config = quantization.get_auto_quantize_config(search.state, {"effective_bits": bits})
    widths = dict.fromkeys(search.weights, UNQUANTIZED)
    for entry in config["quant_cfg"]:
        module, _, quantizer = entry["quantizer_name"].rpartition(".")
        if quantizer == "weight_quantizer" and entry.get("enable", True):
            widths[search.parameters[module]] = int(entry["cfg"]["num_bits"])
    spent = sum(
        search.weights[name] * effective_bits(width, search.group_size)
        for name, width in widths.items()
    )
    return widths if spent <= 8 * room else None


def effective_bits(bits: int, group_size: int) -> float:
    """Bits stored for a weight: its code, and its share of a float16 scale and a zero point."""
    return float(bits) if bits == UNQUANTIZED else bits + (16 + bits) / group_size


def _format(bits: int, group_size: int) -> dict[str, Any]:
    return {
        "quant_cfg": [
            {"quantizer_name": "*", "enable": False},
            {
                "quantizer_name": "*weight_quantizer",
                "cfg": {"num_bits": bits, "block_sizes": {-1: group_size, "type": "static"}},
                "enable": True,
            },
        ],
        "algorithm": "max",
        "effective_bits": effective_bits(bits, group_size),
    }


def _layers(model: SpeechModel) -> tuple[dict[str, str], list[str], int]:
    """Names of the layers to search, and names and weights of those that it must leave alone."""
    names = {unit.parameter for unit in model.units}
    known = {id(model.module.get_parameter(name)): name for name in names}
    searched: dict[str, str] = {}
    excluded: list[str] = []
    weights = 0
    for name, module in model.module.named_modules():
        if isinstance(module, torch.nn.Linear) and id(module.weight) in known:
            searched[name] = known[id(module.weight)]
        elif isinstance(module, torch.nn.Linear | torch.nn.Conv1d | torch.nn.Conv2d):
            excluded.append(name)
            weights += module.weight.numel()
    return searched, excluded, weights


@contextlib.contextmanager
def _rules(searcher: Any, fuse: bool) -> Iterator[None]:
    """Lift the rule that some layers share a width, and put it back."""
    before = searcher.quant_grouping_rules
    try:
        if not fuse:
            searcher.quant_grouping_rules = []
        yield
    finally:
        searcher.quant_grouping_rules = before


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the package's prints, progress bars and warnings."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield
