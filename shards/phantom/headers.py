"""How three vendors and their users write the same series: descriptions, sequence tags, contrast. Pure text."""

import numpy as np

VENDORS = ("SIEMENS", "GE", "PHILIPS")
# what each vendor calls it
_WORDS = {
    "manufacturer": ("SIEMENS", "GE MEDICAL SYSTEMS", "Philips Medical Systems"),
    "CT scanner": ("SOMATOM Definition AS", "LightSpeed VCT", "Brilliance 64"),
    "MR scanner": ("Avanto", "Signa HDxt", "Achieva"),
    "CT scout": ("Topogram  0.6  T20s", "SCOUT", "Surview"),
    "MR scout": ("localizer", "3-Plane Loc", "Survey"),
    "kernel": ("B30f", "STANDARD", "B"),
    "axial": ("tra", "Ax", "TRA"),
    "coronal": ("cor", "Cor", "COR"),
    "sagittal": ("sag", "Sag", "SAG"),
    "enhanced": (" +C", " POST", " C+"),
    "plain": (" native", " W/O", " WO CONTRAST"),
}
# sequence: description, and its name (GE and Philips fill PulseSequenceName), of each vendor
_SEQUENCES = {
    "T1-SE": (("t1_se_{}", "*se2d1"), ("{} T1 SE", "SE"), ("T1W_SE_{}", "SE")),
    "T2-SE": (("t2_tse_{}", "*tse2d1_15"), ("{} T2 FSE", "FSE-XL"), ("T2W_TSE_{}", "TSE")),
    "T1-FLAIR": (("t1_tirm_{}_dark-fluid", "*tir2d1_7"), ("{} T1 FLAIR", "T1FLAIR"), ("T1W_FLAIR_{}", "TIR")),
    "T2-FLAIR": (("t2_tirm_{}_dark-fluid", "*tir2d1_16"), ("{} T2 FLAIR", "T2FLAIR"), ("FLAIR_longTR_{}", "TIR")),
    "DWI": (("ep2d_diff_{}", "*ep_b1000t"), ("{} DWI", "EPI2"), ("DWI_{}", "DwiSE")),
    "GRE": (("t1_fl2d_{}", "*fl2d1"), ("{} T1 SPGR", "SPGR"), ("T1W_FFE_{}", "T1FFE")),
    "STIR": (("t2_stir_{}", "*tir2d1_11"), ("{} STIR", "FSE-IR"), ("STIR_{}", "TIR")),
}
# the body parts that users call otherwise than the standard does
_PARTS = {"head": "Brain", "abdomen_pelvis": "Abd Pelvis", "cspine": "C-Spine", "lspine": "L-Spine"}
_AGENTS = {"CT": ("OMNIPAQUE 300", "Iopamiro 370", "APPLIED"), "MR": ("GADAVIST", "Magnevist 10 ml", "DOTAREM")}


def describe(
    vendor: str, modality: str, sequence: str, region: str, view: str, contrast: bool, rng: np.random.Generator
) -> dict[str, str]:
    """Header text of one series by keyword; what a real archive often leaves out is sometimes left out.

    BodyPartExamined is missing in a quarter of the series. Of those with contrast one in ten says so only in the
    description and one in twenty nowhere; of the plain ones three in ten have an agent "NONE", a quarter say nothing.
    """
    column = VENDORS.index(vendor)
    words = {name: row[column] for name, row in _WORDS.items()}
    part = _PARTS.get(region, region.replace("_", " ").title())
    luck = rng.random()
    text = {"Manufacturer": words["manufacturer"], "ManufacturerModelName": words[f"{modality} scanner"]}
    text["StudyDescription"] = f"{modality} {part.upper()}"
    if rng.random() > 0.25:
        text["BodyPartExamined"] = region.replace("_", "").upper()
    part = part if vendor == "SIEMENS" else part.upper()
    if modality == "CT":
        text |= {"ProtocolName": f"{part} ROUTINE", "ConvolutionKernel": words["kernel"]}
        description = f"{part} {words['kernel']}" + ("" if view == "axial" else " " + words[view].upper())
    else:
        description, name = _SEQUENCES[sequence][column]
        description = description.format(words[view])
        text["ProtocolName"] = f"{part} ROUTINE" if vendor == "GE" else description
        text["ScanningSequence"] = {"GRE": "GR", "DWI": "EP"}.get(sequence, "SE")
        if sequence in ("T1-FLAIR", "T2-FLAIR", "STIR"):
            text["ScanningSequence"] = "IR" if vendor == "PHILIPS" else "SE\\IR"
        text["SequenceName" if vendor == "SIEMENS" else "PulseSequenceName"] = name
    if contrast:
        description += words["enhanced"] if luck < 0.5 or 0.85 <= luck < 0.95 else ""
        if luck < 0.85:
            text["ContrastBolusAgent"] = _AGENTS[modality][rng.integers(3)]
    elif luck > 0.55:
        description += words["plain"]
    elif luck < 0.3:
        text["ContrastBolusAgent"] = "NONE"
    return text | {"SeriesDescription": description}


def describe_scout(vendor: str, modality: str) -> dict[str, str]:
    """What the header text of a scout says otherwise than that of the series it was made for."""
    name = _WORDS[f"{modality} scout"][VENDORS.index(vendor)]
    return {"SeriesDescription": name} | ({"ProtocolName": name, "ScanningSequence": "GR"} if modality == "MR" else {})
