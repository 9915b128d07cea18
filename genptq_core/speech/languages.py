"""Languages by code or name, and how texts in them are counted.

The table has the languages that a Whisper may know, in the order of its tokens: the code of each,
its three-letter codes of ISO 639, and its English names. A test compares it with the table of
`transformers`, which is not needed to read it.
"""

from __future__ import annotations

import re

from .normalizers import BASIC, MULTILINGUAL, MULTILINGUAL_CHARACTERS, WHISPER_ENGLISH

_TABLE = """
en eng english; zh zho chi cmn chinese mandarin; de deu ger german; es spa spanish castilian;
ru rus russian; ko kor korean; fr fra fre french; ja jpn japanese; pt por portuguese;
tr tur turkish; pl pol polish; ca cat catalan valencian; nl nld dut dutch flemish; ar ara arabic;
sv swe swedish; it ita italian; id ind in indonesian; hi hin hindi; fi fin finnish;
vi vie vietnamese; he heb iw hebrew; uk ukr ukrainian; el ell gre greek; ms msa may malay;
cs ces cze czech; ro ron rum mo romanian moldavian moldovan; da dan danish; hu hun hungarian;
ta tam tamil; no nor nb nob norwegian; th tha thai; ur urd urdu; hr hrv croatian; bg bul bulgarian;
lt lit lithuanian; la lat latin; mi mri mao maori; ml mal malayalam; cy cym wel welsh;
sk slk slo slovak; te tel telugu; fa fas per persian; lv lav latvian; bn ben bengali;
sr srp serbian; az aze azerbaijani; sl slv slovenian; kn kan kannada; et est estonian;
mk mkd mac macedonian; br bre breton; eu eus baq basque; is isl ice icelandic;
hy hye arm armenian; ne nep nepali;
mn mon mongolian; bs bos bosnian; kk kaz kazakh; sq sqi alb albanian; sw swa swahili;
gl glg galician; mr mar marathi; pa pan punjabi panjabi; si sin sinhala sinhalese; km khm khmer;
sn sna shona; yo yor yoruba; so som somali; af afr afrikaans; oc oci occitan; ka kat geo georgian;
be bel belarusian; tg tgk tajik; sd snd sindhi; gu guj gujarati; am amh amharic;
yi yid ji yiddish; lo lao; uz uzb uzbek; fo fao faroese; ht hat haitian_creole haitian;
ps pus pashto pushto; tk tuk turkmen; nn nno nynorsk; mt mlt maltese; sa san sanskrit;
lb ltz luxembourgish letzeburgesch; my mya bur myanmar burmese; bo bod tib tibetan;
tl tgl fil tagalog; mg mlg malagasy; as asm assamese; tt tat tatar; haw hawaiian; ln lin lingala;
ha hau hausa; ba bak bashkir; jw jav jv javanese; su sun sundanese; yue cantonese
"""
_ROWS = [row.split() for row in _TABLE.split(";")]
_CODES = {name.replace("_", " "): row[0] for row in _ROWS for name in row}
_NAMES = {
    row[0]: next(n for n in row if len(n) > 3 or n == "lao").replace("_", " ").title()
    for row in _ROWS
}
_MARKED = re.compile(r"<\|([a-z]{2,3})\|>")
_ENGLISH = "en"

LANGUAGES = tuple(row[0] for row in _ROWS)
"""Codes in the order of Whisper's tokens."""

IN_CHARACTERS = frozenset({"zh", "yue", "ja", "ko", "th", "lo", "km", "my"})
"""Languages whose errors are counted in characters: most are written without spaces between words,
and of Korean, where spaces vary, the rate of characters is the usual one."""


def code_of(name: str) -> str:
    """The code of a language.

    Args:
        name: a code of ISO 639 with two or three letters, with or without a region after it
            ("pt-BR", "en_us"), as Whisper writes it ("<|de|>"), or an English name; in any case.

    Returns:
        One of `LANGUAGES`; what is none of them is returned in lower case, without blanks around.
    """
    plain = name.strip().casefold()
    marked = _MARKED.fullmatch(plain)
    plain = marked[1] if marked else plain
    if plain in _CODES:
        return _CODES[plain]
    parts = re.split("[-_]", plain)
    if len(parts) > 1 and parts[1] == "yue":  # zh-yue
        return "yue"
    first = parts[0]
    return _CODES[first] if len(first) in (2, 3) and first in _CODES else plain


def name_of(code: str) -> str:
    """The English name of a language, by its code; the code where it is not known."""
    return _NAMES.get(code, code)


def normalizer_in(language: str, own: str = BASIC) -> str:
    """The text normalizer for a language.

    Args:
        language: a code; "" where it is not known.
        own: what is taken for English, and where the language is not known.
    """
    if language in ("", _ENGLISH):
        return own
    return MULTILINGUAL_CHARACTERS if language in IN_CHARACTERS else MULTILINGUAL


def whisper_normalizer(language: str, english: bool) -> str:
    """The text normalizer for what a Whisper writes that is asked for a language."""
    return WHISPER_ENGLISH if english else normalizer_in(language)
