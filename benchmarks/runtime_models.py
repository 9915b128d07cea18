"""Writes the models that `benchmarks.runtimes` measures, each once, into a folder of its own.

Presets are what a runtime's own tools make of the float16 model: CTranslate2's converter, ONNX
Runtime's two quantizers, and transcribe.cpp's, which its wheel does not carry: its table (linear
layers and the embedding in one type, convolutions, norms, biases and positions in float32) is
applied with the wheel's `ggml_quantize_chunk`, which it calls itself.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import ggml_presets
from genptq_core import UNQUANTIZED, Profile, bit_map, load_model, problem, solve
from genptq_core.export.export import export
from genptq_core.export.unpack import unpack
from genptq_core.formats import gguf_whisper, settings_files
from genptq_core.formats.whisper_layout import WhisperLayout
from genptq_core.models import SpeechModel, bundled
from genptq_core.rounding.compilation import compile_map
from genptq_core.speech.utterances import SpeechSet
from genptq_core.storage.files import remove

EXPORT, GGUF = "export", "model.gguf"
ONNX_FILES = ("encoder.onnx", "decoder.onnx")


class Models:
    """Makes models by name; what is in the folder already is taken as it is."""

    def __init__(self, profile: Profile, folder: Path) -> None:
        self.profile = profile
        self.folder = folder / profile.digest[:12]
        self._model: SpeechModel | None = None

    @property
    def model(self) -> SpeechModel:
        """The profile's model, loaded once."""
        if self._model is None:
            self._model = load_model(self.profile.source.model)
        return self._model

    def made(self, name: str, make: Callable[[Path], None]) -> Path:
        """A folder of this name, written by `make` if it is not there."""
        path = self.folder / name
        if not path.is_dir():
            begun = path.with_name(f"{name}.begun")
            remove(begun)
            begun.mkdir(parents=True)
            make(begun)
            begun.rename(path)
        return path

    def full(self, target: str) -> Path:
        """The model with nothing rounded, exported."""

        def make(folder: Path) -> None:
            chosen = bit_map(self.profile, [UNQUANTIZED] * len(self.profile.units))
            export(self.profile, chosen, target, folder / EXPORT, self.model)

        return self.made(f"{target}-float16", make) / EXPORT

    def of_size(self, target: str, megabytes: float, tuning: SpeechSet | None = None) -> Path:
        """The map that the solver gives for a target and a size, exported.

        Args:
            target: name of the target.
            megabytes: of the weights alone.
            tuning: speech to compile the map with; None leaves it as the profile rounds.
        """

        def make(folder: Path) -> None:
            asked = problem(self.profile, target=target)
            allocation = solve(asked, int(megabytes * 1e6) + (asked.overhead or 0))
            chosen = bit_map(self.profile, allocation.options)
            compiled = compile_map(self.model, self.profile, chosen, tuning) if tuning else None
            out = folder / EXPORT
            export(self.profile, chosen, target, out, self.model, compiled=compiled)

        name = f"{target}-{megabytes:g}" + (f"-compiled-{tuning.digest[:8]}" if tuning else "")
        return self.made(name, make) / EXPORT

    def unpacked(self, native: Path, way: str, width: str) -> Path:
        """A native export, unpacked for a runtime."""

        def make(folder: Path) -> None:
            unpack(native, way, folder / EXPORT, width)

        return self.made(f"{native.parent.name}-{way}-{width}", make) / EXPORT

    def embedded(self) -> Path:
        """The float16 model as CTranslate2 has it, of the package that carries it."""
        return bundled.folder()

    def gguf_float16(self) -> Path:
        """A GGUF with every matrix in float16."""

        def make(folder: Path) -> None:
            self.model.save_settings(folder)
            layout = WhisperLayout.of(settings_files.loose(folder), self.model.name)
            for path in folder.iterdir():
                remove(path)
            weights = (
                (name, self.model.module.get_parameter(name).detach().numpy())
                for name in layout.shapes
            )
            gguf_whisper.write(folder / GGUF, layout, self.model.name, weights)

        return self.made("gguf-float16", make) / GGUF

    def gguf_preset(self, preset: str) -> Path:
        """A preset of transcribe.cpp's quantizer."""

        def make(folder: Path) -> None:
            ggml_presets.quantize(self.gguf_float16(), folder / GGUF, preset)

        return self.made(f"gguf-preset-{preset}", make) / GGUF

    def transformers_float16(self) -> Path:
        """A float16 `save_pretrained` folder."""

        def make(folder: Path) -> None:
            import copy

            module = copy.deepcopy(self.model.module).half()
            module.save_pretrained(folder)  # type: ignore[operator]
            self.model.save_settings(folder)

        return self.made("transformers-float16", make)

    def ctranslate2_int8(self) -> Path:
        """CTranslate2's converter with `--quantization int8`."""

        def make(folder: Path) -> None:
            from ctranslate2.converters import TransformersConverter

            converter = TransformersConverter(
                str(self.transformers_float16()), copy_files=["tokenizer.json"]
            )
            converter.convert(str(folder), quantization="int8", force=True)

        return self.made("ctranslate2-int8", make)

    def onnx_dynamic(self) -> Path:
        """ONNX Runtime's `quantize_dynamic`: int8 weights, activations rounded as they come."""

        def quantize(source: Path, out: Path) -> None:
            from onnxruntime.quantization import quantize_dynamic

            quantize_dynamic(source, out, op_types_to_quantize=["MatMul", "Gather"])

        return self._onnx("onnx-int8", quantize)

    def onnx_int4(self) -> Path:
        """ONNX Runtime's `MatMulNBitsQuantizer` with 4 bits, its other settings as they are."""

        def quantize(source: Path, out: Path) -> None:
            from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

            quantizer = MatMulNBitsQuantizer(str(source), op_types_to_quantize=("MatMul", "Gather"))
            quantizer.process()
            quantizer.model.save_model_to_file(str(out), False)

        return self._onnx("onnx-int4", quantize)

    def _onnx(self, name: str, quantize: Callable[[Path, Path], None]) -> Path:
        """A preset of ONNX Runtime on the 16-bit export, whose weights are first made float32."""

        def make(folder: Path) -> None:
            full = self.full("onnx")
            for path in full.iterdir():
                if path.name not in (*ONNX_FILES, "export.json", "bitmap.json"):
                    shutil.copy(path, folder)
            for file in ONNX_FILES:
                plain = folder / f"float32-{file}"
                notes = _folded(full / file, plain)
                quantize(plain, folder / file)
                _annotate(folder / file, notes)
                remove(plain)

        return self.made(name, make)


def _folded(source: Path, out: Path) -> dict[str, str]:
    """Write a graph with casts and transposes of weights done; returns the graph's notes.

    ONNX Runtime's quantizers see float32 constants alone.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(out)
    session = onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    return dict(session.get_modelmeta().custom_metadata_map)


def _annotate(path: Path, notes: dict[str, str]) -> None:
    """Give a graph back the notes that the quantizer dropped."""
    import onnx

    graph: Any = onnx.load(str(path))
    del graph.metadata_props[:]
    onnx.helper.set_model_props(graph, notes)
    onnx.save(graph, str(path))
