"""Letters as dots, so that a picture can carry text without a font or a plotting library."""

import unicodedata

import numpy as np

HEIGHT, ADVANCE = 10, 6  # dots from line to line, and from letter to letter
# Each letter from blank to ~ is five columns of eight dots, the top one in the lowest bit.
_COLUMNS = bytes.fromhex(
    "0000000000 00005f0000 0007000700 147f147f14 242a7f2a12 2313086462 3649562050 0005030000 001c224100 0041221c00"
    "2a1c7f1c2a 08083e0808 0080700000 0808080808 0060600000 2010080402 3e5149453e 00427f4000 4261514946 2241494936"
    "1814127f10 2745454539 3c4a494930 0171090503 3649494936 064949291e 0036360000 0080760000 0814224100 1414141414"
    "0041221408 0201510906 3e415d594e 7c1211127c 7f49494936 3e41414122 7f4141413e 7f49494941 7f09090901 3e4151513a"
    "7f0808087f 00417f4100 2040413f01 7f08142241 7f40404040 7f020c027f 7f0408107f 3e4141413e 7f09090906 3e4151215e"
    "7f09192946 2649494932 01017f0101 3f4040403f 1f2040201f 3f4038403f 6314081463 0304780403 6151494543 007f414100"
    "0204081020 0041417f00 0402010204 4040404040 0003050000 2054545478 7f48444438 3844444428 384444487f 3854545418"
    "087e090102 18a4a4a47c 7f08040478 00447d4000 0080847d00 7f10284400 00417f4000 7c04780478 7c08040478 3844444438"
    "fc24242418 18242424fc 7c08040408 4854545424 043f444020 3c4040207c 1c2040201c 3c4030403c 4428102844 1ca0a0a07c"
    "4464544c44 0008364100 00007f0000 0041360800 0804081008"
)
_FIRST = " "
_UNKNOWN = "?"
_REPLACED = str.maketrans({"→": ">", "≥": ">", "≤": "<", "×": "x", "·": ".", "–": "-", "…": ".", "°": " ", "ß": "s"})


def draw(lines: list[str]) -> np.ndarray:
    """Lines of text as bool [H,W], HEIGHT dots a line and ADVANCE a letter. Accents are dropped; what has no letter
    here is a question mark."""
    width = max(map(len, lines), default=0)
    dots = np.zeros((len(lines) * HEIGHT, width * ADVANCE), bool)
    for number, text in enumerate(lines):
        for place, letter in enumerate(_plain(text)):
            columns = np.frombuffer(_COLUMNS, np.uint8, 5, 5 * (ord(letter) - ord(_FIRST)))
            top, left = number * HEIGHT, place * ADVANCE
            dots[top : top + 8, left : left + 5] = np.unpackbits(columns[None], axis=0, bitorder="little")
    return dots


def _plain(text: str) -> str:
    """One printable ASCII letter for each letter of `text`."""
    bases = (unicodedata.normalize("NFKD", letter)[:1] for letter in text.translate(_REPLACED))
    return "".join(base if " " <= base <= "~" else _UNKNOWN for base in bases)
