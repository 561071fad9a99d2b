"""Contrast from descriptions of many languages, from the agent, and where they do not agree."""

import pytest

from radnet import labels
from radnet.labels.contrast import mention


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("T1 SE +C", "yes"),
        ("COR T1 SE+C F.S.", "yes"),
        ("AX VIBE POST", "yes"),
        ("T1 nach KM", "yes"),
        ("T1 con contraste", "yes"),
        ("CT ABD AND PELVIS WITH IV CONT", "yes"),
        ("ABD/PEL W 2MM", "yes"),
        ("noncontrast", "no"),
        ("CT CHEST WO IV CONT", "no"),
        ("CT chest w/o contrast", "no"),
        ("ohne KM", "no"),
        ("sans injection", "no"),
        ("Chest HCT 5mm  -C", "no"),
        ("PRE LIVER", "no"),
        ("5/5mm Plain", "no"),
        ("CT ABD W/WO CONTRAST", None),
        ("ABDOMEN W&W/O CONT", None),
        ("MR BREAST WO W CONTRAST", None),
        ("with and without contrast", None),
        ("PRE+5POST", None),
        ("ReconFilter-C", None),
        ("FSE_T2_SAG_FS_C", None),
        ("Preop posterior", None),
        ("Bladder CT with PO and IV", "yes"),
        # what was swallowed is not what is asked for
        ("CT_CHEST_ABDOMEN_PELVIS_WITH_ORAL_CONTRAST_ONLY", None),
        ("CT ABD W ORAL CONTRAST", None),
        ("Abdomen mit oralem KM", None),
        ("TC abdomen con contraste oral", None),
        ("CT buik met oraal contrast", None),
        ("TC addome con mdc orale", None),
        ("Abdomen mit oralem und i.v. KM", "yes"),
        ("TC abdomen con contraste oral y EV", "yes"),
        ("CT A/P WITHOUT IV CONTRAST WITH ORAL CONTRAST", "no"),
        # in other languages
        ("CT Abdomen unverstärkt", "no"),
        ("Kontrastmittelfrei Abdomen", "no"),
        ("Nativserie Schädel", "no"),
        ("Leber triphasisch", "yes"),
        ("Niere Ausscheidungsphase", "yes"),
        ("Abdomen sans PC", "no"),
        ("TAP avec injection de produit de contraste", "yes"),
        ("TDM cervicale injectée", "yes"),
        ("CT lever 3 fasen", "yes"),
        ("TC hígado trifásico", "yes"),
        ("UROTAC", "yes"),
        ("TC bacino senza mezzo di contrasto", "no"),
        ("TC rene fase escretoria", "yes"),
        # of real archives
        ("THORAX/ABDOMEN/PELVIS + CONT", "yes"),
        ("CT INFUSED CHEST", "yes"),
        ("CT NON-INFUSED CHEST", "no"),
        ("Adrenal 15 min", "yes"),
        ("8_x_4_MIN", None),
        ("KT KLP BEZ+CE", None),
        ("PET CT with registered MR", None),
        ("FNA, WITH IMAGING GUIDANCE - CT", None),
        ("CT Body Outside Consultation With Formal Dictation", None),
        ("PE_CT_skull_to_thigh", None),
        ("CT CHEST PE", "yes"),
        ("CT CHEST O CONTR", "no"),
        ("CTCAPC", "yes"),
        ("CT ABD PELVIS(WITH CHEST IMAGES) WO IV CON", "no"),
        ("Abd INJ  8.0", "yes"),
        ("CT GUIDED NEEDLE INJ,B", None),
        ("CTABDPELW", "yes"),
        ("CTAPWO", "no"),
        ("CTCAPWWO", None),
        ("CTCAP", None),
        ("C/C2.5MM", "yes"),
        ("POR COR 250", "yes"),
        ("Kl.p + kontr.  1.5", "yes"),
        ("CT ABDOMEN P.O. CONTRAST", None),
        ("CT-Abdomen/Pelvis enha", "yes"),
        ("PETCT CONTRASTED SUBSQ TX", "yes"),
        ("Abd / Pel+  5.0  B30f", "yes"),
        ("A/P W/ SAG RECON", None),
        ("AbdPel W  3.0  MPR  sag", "yes"),
        ("Contrast/Bolus Agent: NO ENTRY", None),
        ("Contrast/Bolus Agent: ISOVUE", "yes"),
        ("Thorax^01_NONCONCHEST (Adult)", "no"),
        ("Venouse_Phase  5.0  MPR  cor", "yes"),
        ("Abdomen^03_7_Kidney_Post_Nephrectomy (Adult)", None),
    ],
)
def test_what_descriptions_of_ct_say(text, said):
    assert mention(text, is_ct=True) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("t1_vibe_fs_cor_p2_bh 5 MIN", "yes"),
        ("POSTAXIAL T1 F/S", "yes"),
        ("9mL Omni T1 FS DYN", "yes"),
        ("PREAXIAL T1 F/S", "no"),
        ("Precordial", None),
        ("Ph3/ax 3d dyn", "yes"),
        ("Perfusie_t1_twist_1.3x1.3x3_temp_2s_TT=35.3s", "yes"),
        ("Twist_dynamic_Wip576_TT=180.8s", "yes"),
        ("AXIAL PERFUSION", "yes"),
        ("3D ASL perfusion", None),
        ("ax 3d dyn", None),  # the mask of a multi-phase series is named so too
        ("WATER: Axial 2echo 18ph 3.s", None),
        ("Mask_for_Tumor-WithoutLeakage", None),
        ("MR BREAST BILAT W AND W-O CONT -DR", None),
        ("PRE-3D-T1W", "no"),
        ("ax dyn pre", "no"),
        ("RM hígado T1 poscontraste", "yes"),
    ],
)
def test_what_descriptions_of_mr_say(text, said):
    assert mention(text, is_ct=False) == said


@pytest.mark.parametrize(
    ("header", "contrast"),
    [
        ({"ContrastBolusAgent": "OMNIPAQUE"}, "yes"),
        ({"ContrastBolusAgent": "NON IONIC"}, "yes"),
        ({"ContrastBolusRoute": "IV"}, "yes"),
        ({"ContrastBolusAgent": "NONE"}, "no"),
        ({"ContrastBolusAgent": "N/A"}, None),
        ({"ContrastBolusAgent": "Oral", "ContrastBolusRoute": "ORAL"}, None),
        ({"ContrastBolusAgent": "OMNIPAQUE", "SeriesDescription": "pre contrast"}, None),
        ({"Modality": "MR", "SeriesDescription": "T1 W TSE"}, None),
        ({"Modality": "MR", "SeriesDescription": "T2", "StudyDescription": "MRI BRAIN WITH CONTRAST"}, None),
        ({}, None),
    ],
)
def test_contrast_from_agent_and_conflicts(header, contrast):
    assert labels.read(header).contrast.value == contrast
