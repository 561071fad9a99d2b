"""How vendors, sites and technologists word a header, and the lies it tells. Pure text; the words are in words.yaml."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from radnet.shards.phantom.physics import table

if TYPE_CHECKING:
    from radnet.shards.phantom.plan import SeriesPlan

WORDS, STUDIES = table("words"), table("studies")
VENDORS = WORDS["vendors"]


@dataclass(frozen=True)
class Site:
    """Who made a study. typed: share of descriptions that are no protocol's name. study: StudyDescription, and whether
    it names the body part, and says alone of all series that an agent was given."""

    vendor: str
    words: dict[str, Any]
    charset: str
    habits: tuple[str, str, str]
    typed: float
    study: str
    names_part: bool
    says_contrast: bool


def pick(rng: np.random.Generator, choices: Sequence[Any]) -> Any:
    """One of `choices`, each as likely."""
    return choices[int(rng.integers(len(choices)))]


def draw_site(rng: np.random.Generator, modality: str, region: str, contrasts: set[bool]) -> Site:
    """A site, and what it calls this study. contrasts: whether its series were made with an agent."""
    vendor, language, charset = (pick(rng, WORDS["draw"][name]) for name in ("vendors", "languages", "charsets"))
    words, luck, phrase = WORDS["languages"][language], rng.random(4), ""
    part = pick(rng, words["parts"][region]) if luck[0] < 0.8 else ""
    if True in contrasts and luck[1] < 0.5:
        phrase = pick(rng, words["both" if False in contrasts else "with"])
    study = f"{pick(rng, words[modality])} {part or words['routine']} {phrase}".strip()
    habits = tuple(pick(rng, WORDS["habits"][name]) for name in ("prefix", f"suffix_{modality}", "style"))
    says_contrast = bool(phrase) and False not in contrasts and modality == "CT"
    study = study.upper() if luck[2] < 0.4 else study
    return Site(vendor, words, charset, habits, 0.7 * float(luck[3]), study, bool(part), says_contrast)


def describe(plan: "SeriesPlan", site: Site, rng: np.random.Generator) -> dict[str, Any]:
    """Fields of a series' plan: text, the header's by keyword; the lies in it; what it leaves undecidable: sequence,
    contrast, coverage, and "extent" where the scan holds less or more than its name says."""
    vendor, words, is_mr = VENDORS[site.vendor], site.words, plan.modality == "MR"
    lies = _draw_lies(plan, rng)
    others = [kind for kind in WORDS["mistaken"] if kind != plan.kind]
    named = pick(rng, others) if "description_wrong" in lies else plan.kind
    kernel = pick(rng, vendor["kernels"][plan.kernel]) if plan.kernel else ""
    template = pick(rng, vendor["series"][named][:-1])
    native = description = _fill(template, plan, words, kernel, vendor["views"], rng)
    if rng.random() < site.typed or "description_bare" in lies:
        template = "{v}" if "description_bare" in lies else pick(rng, WORDS["typed"][named])
        kernel_word = pick(rng, words["kernels"][plan.kernel]) if plan.kernel else ""
        description = _fill(template, plan, words, kernel_word, words["views"], rng)
    phrases = words["post"] + words["post_MR" if is_mr else plan.phase] if plan.contrast else words["pre"]
    phrase = pick(rng, phrases) if rng.random() < 0.45 or "agent_early" in lies else ""
    is_protocol = is_mr and vendor["protocol"] == "series"  # the protocol is named after the sequence
    protocol = native if is_protocol else f"{pick(rng, words['parts'][plan.region])} {words['routine']}"
    text = {"Manufacturer": vendor["manufacturer"], "ManufacturerModelName": pick(rng, vendor[plan.modality])}
    text |= {"StudyDescription": site.study, "ProtocolName": protocol}
    if is_mr:
        scanning, variant, acquisition = STUDIES["kinds"][plan.kind]["tags"]
        text |= {"ScanningSequence": vendor["scanning"].get(scanning, scanning), "SequenceVariant": variant}
        text |= {"MRAcquisitionType": acquisition, vendor["name_keyword"]: vendor["series"][plan.kind][-1]}
    else:
        text["ConvolutionKernel"] = kernel
    if is_described := "description_missing" not in lies:
        text["SeriesDescription"] = _styled(f"{description} {phrase}", *site.habits)
    if "body_part_missing" not in lies:
        right = WORDS["body_parts"][plan.region]
        wrong = [part for part in WORDS["wrong_parts"] if part not in right]
        text["BodyPartExamined"] = pick(rng, wrong if "body_part_wrong" in lies else right)
    text |= _agent(plan, lies, rng)
    if not "".join(text.values()).isascii() or rng.random() < 0.5:
        text["SpecificCharacterSet"] = site.charset
    is_named = plan.region != "head_neck" and not lies & {"body_part_wrong", "body_part_missing"}
    says_agent = text.get("ContrastBolusAgent", "") not in ("", "N/A", *WORDS["oral_agents"])
    doubts = {
        "sequence": "description_wrong" in lies or not (is_described or is_protocol or plan.sequence),
        "contrast": "agent_early" in lies or not (phrase and is_described or site.says_contrast or says_agent),
        "coverage": not (is_described and "{p}" in template)
        and sum((not is_protocol, site.names_part, is_named)) <= ("body_part_wrong" in lies),
        "extent": set(plan.coverage) != set(STUDIES["promised"][plan.region]),
    }
    undecidable = tuple(label for label, is_doubtful in doubts.items() if is_doubtful)
    return {"text": text, "lies": tuple(sorted(lies)), "undecidable": undecidable}


def _draw_lies(plan: "SeriesPlan", rng: np.random.Generator) -> set[str]:
    possible = {"body_part_missing", "body_part_wrong", "description_missing"}
    possible |= {"agent_missing"} if plan.contrast else {"agent_oral", "agent_early"}
    possible |= {"description_wrong"} if plan.kind in WORDS["mistaken"] else set()
    possible |= {"description_bare", "times_empty"} if plan.sequence else set()
    lies = {name for name, rates in WORDS["rates"].items() if rng.random() < rates[plan.modality == "MR"]} & possible
    for lie, others in WORDS["excludes"].items():
        lies -= set(others) if lie in lies else set()
    return lies


def _fill(template: str, plan: "SeriesPlan", words: dict, kernel: str, views: list, rng: np.random.Generator) -> str:
    """views: the words for axial, for coronal and for sagittal."""
    view = pick(rng, views[list(STUDIES["directions"]).index(plan.view)])
    is_tacit = plan.modality == "CT" and plan.view == "axial" and rng.random() < 0.7
    part, thickness = pick(rng, words["parts"][plan.region]), pick(rng, WORDS["thicknesses"])
    return template.format(v="" if is_tacit else view, p=part, t=thickness, k=kernel, **words["kinds"])


def _styled(text: str, prefix: str, suffix: str, style: str) -> str:
    text = " ".join(f"{prefix}{text}{suffix}".split())[:64].strip()
    return {"upper": text.upper(), "lower": text.lower(), "underscores": text.replace(" ", "_")}.get(style, text)[:64]


def _agent(plan: "SeriesPlan", lies: set[str], rng: np.random.Generator) -> dict[str, str]:
    agents = WORDS["oral_agents" if "agent_oral" in lies else "no_agents"]
    if plan.contrast or "agent_early" in lies:
        agents = WORDS["agents"][plan.modality]
    is_tacit = "agent_missing" in lies or (agents is WORDS["no_agents"] and rng.random() > 0.4)
    return {} if is_tacit else {"ContrastBolusAgent": pick(rng, agents)}
