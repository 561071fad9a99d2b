"""Phrases, letters, codes and cut words that name parts of the body, and words that only seem to."""

import re

from radnet.labels.regions import ABDOMEN, CHEST, HEAD, LOWER, NECK, NONE, TRUNK
from radnet.labels.text import words

_PHRASES = tuple(
    (re.compile(pattern), regions)
    for pattern, regions in (
        (
            r" (?:skull|skullbase|schadel|base|eyes?|orbits?|head) (?:skull )?(?:base )?"
            r"(?:(?:to|thru|through|bis|2) )?(?:mid ?)?(?:thighs?|femurs?|oberschenkel) "
            r"| (?:pet )?sk(?:ul)? (?:to )?(?:mid )?(?:th|thi) ",
            ("lower_head_neck", *TRUNK),
        ),
        # Cut at the length that a title may have.
        (
            r" (?:pet|petct|pt) (?!.*brain).*\bsk(?:ull?)?(?: b\w*)?(?: to?)?(?: m\w*)?(?: th?\w*)? $| \w*skth\w* ",
            ("lower_head_neck", *TRUNK),
        ),
        (r" (?:vertex|head|skull) (?:to|thru|2) (?:toes?|feet|foot) ", (*HEAD, *NECK, *TRUNK)),
        (r" (?:cta|mra|angio\w*) (?:of )?(?:the )?(?:head|kopf|brain) (?:and )?(?:neck|hals) ", (*HEAD, *NECK)),
        (r" ca(?:lcium)? score ", NONE),
        (r" br (?:bi|bil|bilat\w*|uni|unil\w*|lt|rt|left|right) | (?:lt|rt|left|right) br ", ("breast",)),
        (r" pan ?scan ", TRUNK),
        (r" ct ext ", NONE),
        (r" neck (?:and )?(?:ch|chest|thorax) (?:and )?(?:ab|abd|abdomen) (?:and )?(?:pel\w*) ", (*NECK, *TRUNK)),
        (r" n c a p ", (*NECK, *TRUNK)),
        (
            r" (?:c|ch|che|t|thx?|chest|chst|thorax) (?:and )?(?:a|ab|abd|abdo|abdomen) (?:and )?"
            r"(?:p|pel|pelv|pelvis|becken|bekken) ",
            TRUNK,
        ),
        (r" thorac?o ?abdomino? ?pelv\w* | toraco ?abdomin\w* ?pelv\w* ", TRUNK),
        (r" (?:thorac?o|toraco) ?(?:and |et |e |y )?abdom\w* ", ("lung", *ABDOMEN)),
        # Klatka piersiowa, jama brzuszna, miednica (mniejsza, mala).
        (r" (?:klp|kl(?: p)?) (?:i )?(?:jb|j b|brz\w*) (?:i )?(?:m+|mied\w*) ", TRUNK),
        (r" (?:klp|kl(?: p)?) (?:i )?(?:jb|j b|brz\w*) ", ("lung", *ABDOMEN)),
        (r" (?:jb|j b|brz\w*) (?:(?:i|lub) )?(?:m|mm|m m|mied\w*) ", LOWER),
        (r" j b ", ABDOMEN),
        (r" (?:addome|abdomen|abdome) (?:completo|complet|total|totale) ", LOWER),
        (r" (?:sen[oi]s?|sinus) paranasa\w* ", ("upper_head_neck",)),
        (r" (?:thorax|chest|ch|thx?|torax|tor) (?:and )?(?:abd?|abdomen|abdo|bauch) ", ("lung", *ABDOMEN)),
        (
            r" (?:abdomen|abd|ab|abdo|bauch|buik|brzuch|addome) (?:and |et |und |e |y |en )?"
            r"(?:pelvis|pel|pelv|pelvic|pelve|bassin|becken|bekken|mied|miednica|bacino|pelvi|p) | abdomino ?pelv\w* ",
            LOWER,
        ),
        (r" from (?:just )?(?:above |the )*dia(?:p|gr)\w* ", ABDOMEN),
        (r" dia(?:p|gr)\w* (?:(?:to|thru|through|bis) )?(?:iliac )?crests? ", ABDOMEN),
        (r" (?:urogra\w*|ct u|uro (?:ct|tc|tac|scanner)|virt(?:ual)? colo\w*|ct colo\w*) ", LOWER),
        (
            r" (?:cervical|thoracic|lumbar|c|t|l|ls|tl|dorsal|lumbosacral) (?:spine|sp|rachis|wervel\w*|wirbel\w*) "
            r"| spine (?:cervical|thoracic|lumbar|dorsal|c|t|l) "
            r"| (?:rachis|rachide|columna|colonna|colonne|colona) \w+ | cervical (?:spine )?(?=mri|mr)"
            r"|^ (?:mri? |rm |irm )?cervical $",
            NONE,
        ),
        (r" base of skull | skull base | temporal bones? | internal auditory | i a c ", NONE),
        (r" soft tissue neck ", NECK),
        (r" lung (?:bases?|apex|apices) ", NONE),
        (r" upper abd\w* ", ABDOMEN),
        (r" lower abd\w* | (?:abdom\w*|addome) inferior\w* | unterbauch | onderbuik ", ("pelvis",)),
        # Pescoço, tórax, abdome superior, abdome inferior.
        (r" pc (?=tx )", NECK),
        (r" tx as ai(?:vol)? ", TRUNK),
        (r" tx as (?:vol )?", ("lung", *ABDOMEN)),
        (r" as ai(?:vol)? ", LOWER),
        (r"^ as (?:vol )?(?=$|[sc] c |art|port|equil|ax|cor|sag)", ABDOMEN),
        (r" low(?:er)? (?:ext\w*|limb\w*|leg) | upper (?:ext\w*|limb\w*) ", NONE),
    )
)
# From one part to another: these and all between, by the levels of the body.
_LEVELS = (HEAD, NECK[:1], NECK[1:], CHEST, ABDOMEN, ("intestine", "pelvis"))
_FROM = {
    "vertex|head|skull|brain": 0,
    "neck|hals|cou|cuello|collo|nek": 1,
    "chin|jaw|mandible|kinn": 2,
    "chest|thorax|torax|torace|lungs?|(?:thoracic|lung) (?:inlet|apex|apices)|apex|apices|clavicles?": 3,
    "diap\\w*|domes?|liver|kidneys?|abd|abdo|abdomen|addome|bauch": 4,
}
_TO = {
    "chest|thorax|diap\\w*|zwerchfell|carina": 4,
    "abdomen|liver|kidneys?|adrenals?|iliac crests?": 5,
    "(?:the |pubic )?(?:symph\\w*|pubis)|pelvis|becken|bassin|bekken|ischium|lesser trochanters?": 6,
}
# Several words that together mean something else than each: their regions, and what they leave of the text.
PHRASES: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = (
    *(
        (
            re.compile(f" (?:{start}) (?:to|thru|through|bis|till) (?:{end}) "),
            tuple(region for level in _LEVELS[first:last] for region in level),
        )
        for start, first in _FROM.items()
        for end, last in _TO.items()
        if first < last
    ),
    *_PHRASES,
)
# Where such a scan begins, its height tells.
WHOLE_BODY = re.compile(
    r" (?:whole|total|full|ganz) ?(?:bo(?:dy?)?|korper) | corps entier | cuerpo (?:entero|completo) | corpo intero "
    r"| wholebody | ganzkoe?rper | (?:w ?b|gk)(?= )"
)
# Whether the head is in it from the vertex on, its height tells too.
HEAD_AND_NECK = re.compile(
    r" (?:(?:head|kopf|tete|cabeza|testa|hoofd) (?:and |und |et |y |e |en )?(?:neck|hals|cou|cuello|collo)"
    r"|headneck|hns?|hnscc) "
)
# Letters that stand for parts in CT, where a front-to-back direction has no place in the name of a series.
CT_LETTERS = re.compile(r"\bap\b|\ba\s?(?:[/&+-]|and)?\s?p\b(?!\s?/)")
# A radiograph under the modality CT, and its direction.
RADIOGRAPH = re.compile(r" (?:xr|cxr|portable|x ray|rontgen|radiogra\w*) ")
CT_SHORT = re.compile(r" (?:ch|che|thx|pe)(?= )")
CT_CHEST_ABDOMEN = re.compile(r"\bc\s?/\s?a\b(?!\s?/)")
# Codes of exams: CT, parts, with or without contrast (CTCAPW).
CT_CODE = re.compile(r"(?:[a-z]{0,2}ct)?(n?cap)(?:c|i|w|wo|wc|wwo|wiv)|[a-z]{0,2}ct(n?c?ap)(?:c|w|wo|wc|wwo|wiv)?")
CT_CODES: dict[str, tuple[str, ...]] = {"ap": LOWER, "cap": TRUNK, "ncap": (*NECK, *TRUNK)}
# In MR the level of a spine, not the chest.
SPINE_LEVELS = frozenset({"thoracic", "thoracique", "toracico", "thorakal"})
# Where a scan ends: of a text that names no more, what it is of is said elsewhere.
LIMIT = re.compile(r" (?:thru|through|to|bis) (?:the )?(?:pelv\w*|symph\w*|iliac crests?)(?= )")
# How the patient lies, or the head of something else: not the part that is scanned.
HEAD_FIRST = re.compile(
    r" (?:head|feet) (?:in|first)(?= )| first (?:head|feet)(?= )"
    r"| (?:femoral|humeral|radial) head| head(?= (?:of )?(?:pancrea\w*|mrcp|femur))"
    r"| (?:breast|thyroid|gonad\w*|eye) (?:shields?|shielding|protection)(?= )"
)
PANCREATIC_HEAD = re.compile(r"( pancrea\w*) head(?= )")
LUNG_WORDS = frozenset({"lung", "lungs", "lunge", "lungen", "poumon", "pulmon", "pulmao"})
# Small parts of the head.
IN_HEAD = words(
    "iac iam iams orbit orbits orbita orbitas orbite pituitary sella hypophyse ear temporal mastoid felsenbein "
    "rocher rochers tmj jaw dental"
)
# A department, which reads the neck and the spine too; and children, which kidneys are abbreviated like.
DEPARTMENT = frozenset({"neuro"})
WEAK = DEPARTMENT | {"kids"}
# In MR a coil, not what is scanned.
COIL = frozenset({"torso"})
# What opens or closes a compound of no vocabulary (routinechest, lumbarspine): heard only where a text names no part.
_OPENING = {
    HEAD: "cerebr encephal encefal",
    CHEST: "chest thorax lungen pulmon poumon polmon",
    ("breast",): "breast mammogra mammo",
    ("liver",): "liver leber hepat hepato epato",
    ("kidney",): "kidney nieren",
    ("pelvis",): "pelvi prostat becken bekken",
    ABDOMEN: "abdom pancrea pankrea",
    LOWER: "colono colongra",
    ("lower_head_neck",): "thyro thyreo tiroid",
    NONE: "spine",
}
_CLOSING = {
    HEAD: "brain",
    CHEST: "chest thorax",
    ("breast",): "breast breastmr",
    ("liver",): "liver",
    ("kidney",): "kidney",
    ("pelvis",): "pelvis prostate",
    ABDOMEN: "abdomen abdom",
    NONE: "spine",
}
_ENDS = [(words(text), "(?:{})[a-z]+", held) for held, text in _OPENING.items()]
_ENDS += [(words(text), "[a-z]+(?:{})", held) for held, text in _CLOSING.items()]
COMPOUNDS = tuple((re.compile(form.format("|".join(sorted(ends)))), held) for ends, form, held in _ENDS)
NO_COMPOUND = words(
    "chester chesterfield chestnut deliver oliver liverpool spineview breastfeeding thyrogen thyroxine kidneystone "
    "kidneystones"
)
# The last word of a title may be cut at the length that a title may have.
CUT: dict[str, tuple[str, ...]] = {
    word[:end]: held
    for word, held in (
        ("abdomen", ABDOMEN),
        ("abdominal", ABDOMEN),
        ("pelvis", ("pelvis",)),
        ("prostate", ("pelvis",)),
        ("thorax", CHEST),
        ("chest", CHEST),
        ("kidney", ("kidney",)),
        ("breast", ("breast",)),
        ("bladder", ("pelvis",)),
    )
    for end in range(4, len(word))
} | {"bla": ("pelvis",)}
# An exam that was made elsewhere: a heading of the archive, not what was asked for.
IMPORTED = re.compile(r" (?:outside|import\w*|foreign|interpret\w*|comparison|consult\w*|external|second opinion) ")
# A scan of one bed position at one phase of the breath, whatever the exam.
GATED = re.compile(r" t \d+ pr \d+| gated | 4 d ct | \d+ (?:ex|in) $")
# Sequences that are made for one part: heard only where no part is named.
BY_SEQUENCE: tuple[tuple[frozenset[str], tuple[str, ...]], ...] = (
    (words("vibrant vibran bliss rodeo"), ("breast",)),
    (words("mprage mp2rage memprage bravo swi swan flair"), HEAD),
)
