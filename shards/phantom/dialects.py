"""How three vendors and their users write the same series: descriptions, sequence tags, contrast. Pure text."""

import numpy as np

VENDORS = ("SIEMENS", "GE", "PHILIPS")
MANUFACTURERS = {"SIEMENS": "SIEMENS", "GE": "GE MEDICAL SYSTEMS", "PHILIPS": "Philips Medical Systems"}
MODELS = {
    ("SIEMENS", "CT"): "SOMATOM Definition AS", ("GE", "CT"): "LightSpeed VCT", ("PHILIPS", "CT"): "Brilliance 64",
    ("SIEMENS", "MR"): "Avanto", ("GE", "MR"): "Signa HDxt", ("PHILIPS", "MR"): "Achieva",
}  # fmt: skip
_VIEWS = {
    "SIEMENS": {"axial": "tra", "coronal": "cor", "sagittal": "sag"},
    "GE": {"axial": "Ax", "coronal": "Cor", "sagittal": "Sag"},
    "PHILIPS": {"axial": "TRA", "coronal": "COR", "sagittal": "SAG"},
}
# sequence: description of each vendor
_DESCRIPTIONS = {
    "T1-SE": ("t1_se_{view}", "{view} T1 SE", "T1W_SE_{view}"),
    "T2-SE": ("t2_tse_{view}", "{view} T2 FSE", "T2W_TSE_{view}"),
    "T1-FLAIR": ("t1_tirm_{view}_dark-fluid", "{view} T1 FLAIR", "T1W_FLAIR_{view}"),
    "T2-FLAIR": ("t2_tirm_{view}_dark-fluid", "{view} T2 FLAIR", "FLAIR_longTR_{view}"),
    "DWI": ("ep2d_diff_{view}", "{view} DWI", "DWI_{view}"),
    "GRE": ("t1_fl2d_{view}", "{view} T1 SPGR", "T1W_FFE_{view}"),
    "STIR": ("t2_stir_{view}", "{view} STIR", "STIR_{view}"),
}
# sequence: ScanningSequence, SequenceVariant, sequence name, of each vendor (GE and Philips fill PulseSequenceName)
_SEQUENCE_TAGS = {
    "T1-SE": (("SE", "SP", "*se2d1"), ("SE", "NONE", "SE"), ("SE", "SP", "SE")),
    "T2-SE": (("SE", "SK\\SP\\OSP", "*tse2d1_15"), ("SE", "SK\\OSP", "FSE-XL"), ("SE", "SK", "TSE")),
    "T1-FLAIR": (("SE\\IR", "SK\\SP\\MP", "*tir2d1_7"), ("SE\\IR", "SK", "T1FLAIR"), ("IR", "SK\\MP", "TIR")),
    "T2-FLAIR": (("SE\\IR", "SK\\SP\\MP", "*tir2d1_16"), ("SE\\IR", "SK", "T2FLAIR"), ("IR", "SK\\MP", "TIR")),
    "DWI": (("EP", "SK\\SP", "*ep_b1000t"), ("EP\\SE", "NONE", "EPI2"), ("SE", "SK", "DwiSE")),
    "GRE": (("GR", "SP", "*fl2d1"), ("GR", "SS\\SP", "SPGR"), ("GR", "SP", "T1FFE")),
    "STIR": (("SE\\IR", "SK\\SP\\MP", "*tir2d1_11"), ("SE\\IR", "SK", "FSE-IR"), ("IR", "SK\\MP", "TIR")),
}
# region: BodyPartExamined, the word users type
_BODY_PARTS = {
    "head": ("HEAD", "Brain"), "head_neck": ("HEADNECK", "Head Neck"), "neck": ("NECK", "Neck"),
    "sinus": ("SINUS", "Sinus"), "larynx": ("LARYNX", "Larynx"), "chest": ("CHEST", "Chest"),
    "chest_abdomen": ("CHESTABDOMEN", "Chest Abdomen"), "abdomen": ("ABDOMEN", "Abdomen"),
    "abdomen_pelvis": ("ABDOMENPELVIS", "Abd Pelvis"), "pelvis": ("PELVIS", "Pelvis"), "breast": ("BREAST", "Breast"),
    "cspine": ("CSPINE", "C-Spine"), "lspine": ("LSPINE", "L-Spine"),
}  # fmt: skip
_AGENTS = {"CT": ("OMNIPAQUE 300", "Iopamiro 370", "APPLIED"), "MR": ("GADAVIST", "Magnevist 10 ml", "DOTAREM")}


def describe(
    vendor: str, modality: str, sequence: str, region: str, view: str, contrast: bool, rng: np.random.Generator
) -> dict[str, str]:
    """Header text of one series by keyword; what a real archive often leaves out is sometimes left out.

    BodyPartExamined is missing in a quarter of the series. Of those with contrast one in ten says so only in the
    description and one in twenty nowhere; of the plain ones three in ten have an agent "NONE", a quarter say nothing.
    """
    column, part_and_word = VENDORS.index(vendor), _BODY_PARTS[region]
    word = part_and_word[1] if vendor == "SIEMENS" else part_and_word[1].upper()
    luck = rng.random()
    has_agent, says_so = luck < 0.85, luck < 0.5 or 0.85 <= luck < 0.95
    text = {"StudyDescription": f"{modality} {part_and_word[1].upper()}"}
    if rng.random() > 0.25:
        text["BodyPartExamined"] = part_and_word[0]
    if modality == "CT":
        view_word = "" if view == "axial" else " " + _VIEWS[vendor][view].upper()
        text["SeriesDescription"] = (f"{word}  B30f", f"{word} STANDARD", f"{word}, B")[column] + view_word
    else:
        scanning, variant, name = _SEQUENCE_TAGS[sequence][column]
        text["SeriesDescription"] = _DESCRIPTIONS[sequence][column].format(view=_VIEWS[vendor][view])
        text |= {"ScanningSequence": scanning, "SequenceVariant": variant}
        text["SequenceName" if vendor == "SIEMENS" else "PulseSequenceName"] = name
    text["ProtocolName"] = f"{word} ROUTINE" if vendor == "GE" or modality == "CT" else text["SeriesDescription"]
    if contrast and says_so:
        text["SeriesDescription"] += (" +C", " POST", " C+")[column]
    elif not contrast and luck > 0.55:
        text["SeriesDescription"] += (" native", " W/O", " WO CONTRAST")[column]
    if contrast and has_agent:
        text["ContrastBolusAgent"] = _AGENTS[modality][rng.integers(3)]
    elif not contrast and luck < 0.3:
        text["ContrastBolusAgent"] = "NONE"
    return text
