"""Words and figures as the page writes them, and the escaping of what comes from files."""

from __future__ import annotations

import html
import re
import string
from collections.abc import Sequence

from genptq_core.allocation.solving import Allocation
from genptq_core.allocation.wer_curve import WerCurve
from genptq_core.measurement.records import Measured
from genptq_core.options import UNQUANTIZED, Option
from genptq_core.profile import Profile
from genptq_core.speech.wer import Span
from genptq_core.units import Unit

_PUNCTUATION = {ord(c): f"\\{c}" for c in string.punctuation}
_NAMES = {
    "q_proj": "q",
    "k_proj": "k",
    "v_proj": "v",
    "out_proj": "o",
    "fc1": "f1",
    "fc2": "f2",
    "encoder_attn": "x",
}


_REWRITTEN = re.compile(r"://|www\.|@|<-|->|--|[<>~]=", re.IGNORECASE)
"""What Streamlit turns into links and signs, escaped or not."""

_APART = "\N{WORD JOINER}"


def markdown(text: str) -> str:
    """Text from outside, so that Streamlit's Markdown shows it letter by letter, without links."""
    return " ".join(_word(word) for word in text.split())


def _word(word: str) -> str:
    """A word in Markdown: escaped, or as code where signs would be rewritten even so."""
    if not _REWRITTEN.search(word):
        return word.translate(_PUNCTUATION)
    if not re.search(r"[\[\]`\\|]", word):
        return f"`{word}`"
    # Brackets may stand in a label's, where code would not keep them from ending it.
    apart = _REWRITTEN.sub(lambda sign: f"{sign[0][0]}{_APART}{sign[0][1:]}", word)
    return apart.translate(_PUNCTUATION)


def hover(text: str) -> str:
    """Text from a file, so that Plotly's hover labels show it letter by letter."""
    return html.escape(" ".join(text.split()))


def percent(fraction: float, digits: int = 1) -> str:
    """A fraction as per cent."""
    return f"{100 * fraction:.{digits}f} %"


def points(fraction: float, digits: int = 1) -> str:
    """A difference of fractions as signed percentage points."""
    return f"{100 * fraction:+.{digits}f}".replace("-", "\u2212")


def megabytes(size: float) -> str:
    """Bytes as MB of 10^6."""
    return f"{size / 1e6:.{2 if size < 1e6 else 1}f} MB"


def seconds(duration: float) -> str:
    """A duration in words short enough for a status line."""
    if duration < 60:
        return f"{duration:.0f} s"
    return f"{int(duration // 60)} min {int(duration % 60):02d} s"


def widths(options: Sequence[Option]) -> str:
    """A map's widths in a few words: `uniform 4`, or `2 to 6 bits`."""
    if is_uniform(options):
        return "16 bit" if options[0] == UNQUANTIZED else f"uniform {options[0].bits}"
    low, high = min(options).bits, max(options).bits
    return f"{low} bits" if low == high else f"{low} to {high} bits"


def layout(options: Sequence[Option]) -> str:
    """How weights are stored: `entropy-coded`, `groups of 32 to 64`, `q4_0 to q8_0`, `16 bit`."""
    sizes = {option.group_size for option in options if option.form == "grid"}
    parts = ["entropy-coded"] if any(option.form == "coded" for option in options) else []
    if sizes:
        low, high = min(sizes), max(sizes)
        parts.append(f"groups of {low}" if low == high else f"groups of {low} to {high}")
    blocks = sorted((option for option in set(options) if option.block), key=lambda o: o.bits)
    if blocks:
        first, last = blocks[0].key, blocks[-1].key
        parts.append(first if first == last else f"{first} to {last}")
    return " and ".join(parts) or "16 bit"


def is_uniform(options: Sequence[Option]) -> bool:
    """Whether all units are stored alike."""
    return len(set(options)) == 1


def unit_label(unit: Unit) -> str:
    """A tick label of a few characters: `E0 q`, `D3 x o`, `emb 2`."""
    if unit.part == "embedding":
        return f"emb {unit.block}"
    pieces = unit.name.removesuffix(".weight").split(".")
    short = " ".join(_NAMES[p] for p in pieces if p in _NAMES) or pieces[-1][:6]
    return f"{unit.part[:1].upper()}{unit.block} {short}"


def tick_labels(units: Sequence[Unit]) -> list[str]:
    """Tick labels of all units, numbered where two would be the same."""
    seen: dict[str, int] = {}
    labels = []
    for unit in units:
        label = unit_label(unit)
        seen[label] = seen.get(label, 0) + 1
        labels.append(label if seen[label] == 1 else f"{label} \u00b7{seen[label]}")
    return labels


def stored_bits(size: int, profile: Profile) -> float:
    """Bits per parameter of weights that take so many bytes."""
    return 8 * size / profile.source.parameters


def measured_name(record: Measured) -> str:
    """A measured map's name in lists."""
    return record.label or f"{widths(record.options)}, {record.map_digest[:6]}"


def bound(allocation: Allocation, curve: WerCurve | None) -> tuple[str, str]:
    """How near a map is to the proven optimum: a figure, and a sentence on what it means."""
    off = allocation.gap / allocation.predicted_loss if allocation.predicted_loss > 0 else 0.0
    value = "optimal" if off < 5e-4 else f"\u2264 {percent(off)}"
    text = (
        f"Its predicted loss is {allocation.predicted_loss:.4g} nats per token, and no map within "
        f"this budget can be predicted below {allocation.lower_bound:.4g}: proven, by solving the "
        "continuous problem, of which every bit map is a special case."
    )
    if curve is not None:
        gain = float(curve.increase(allocation.predicted_loss))
        gain -= float(curve.increase(allocation.lower_bound))
        text += f" In words, at most {100 * gain:.2f} points of WER could still be won."
    return value, text


def marked(spans: Sequence[Span]) -> str:
    """An alignment as Markdown: the transcript, with every difference marked.

    Marks differ in form as well as in colour: a wrong word is followed by the right one in
    brackets, a missed word is struck through, an added word carries a plus.
    """
    words = []
    for span in spans:
        expected, written = markdown(span.reference), markdown(span.hypothesis)
        if span.kind == "equal":
            words.append(written)
        elif span.kind == "substitute":
            words.append(f":red-background[**{written}**] :gray[\\({expected}\\)]")
        elif span.kind == "delete":
            words.append(f":orange-background[~~{expected}~~]")
        else:
            words.append(f":blue-background[**\\+{written}**]")
    return " ".join(words)
