"""Real MR series of a hand-checked table, read by radnet and by dcm-classifier (PyPI), all files given to both.

The series are those of truth.csv in RADNET_TEST_DATA (default ../shared/data beside the checkout). dcm-classifier runs
in a process of its own, because it may die of a file, and talks a lot.
"""

import csv
import importlib.util
import os
import secrets
from collections import Counter
from collections.abc import Iterable
from multiprocessing import TimeoutError, get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from radnet import labels
from radnet.labels import TAXONOMIES
from radnet.launch.bench import Record, record

RIVAL, LIMIT_S = "dcm-classifier", 120
# What dcm-classifier's classes are among the paper's: it has no T1-FLAIR, and no technique, so that a T1-weighted
# gradient echo, none of the five, is t1w to it.
_SAME = {"t1w": ("T1-SE", "T1-FLAIR"), "t2w": ("T2-SE",), "flair": ("T2-FLAIR",)}
VERDICTS = ("right", "wrong", "abstained")


def real_folder() -> Path:
    """The folder that should hold the table; it may be absent."""
    checkout = Path(__file__).resolve().parents[2]
    return Path(os.environ.get("RADNET_TEST_DATA", checkout.parent / "shared" / "data")).resolve()


def beside(folder: Path) -> list[Record]:
    """Print one table, series by series, and count right, wrong and abstained, within and outside the paper's classes.

    Without the folder nothing is measured, without dcm-classifier only radnet is; a line says which.
    """
    if not (folder / "truth.csv").is_file():
        print(f"labels/real skipped: {folder} has no truth.csv; set RADNET_TEST_DATA to the folder that has")
        return []
    missing = [name for name in ("dcm_classifier", "itk", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"labels/real without {RIVAL}: {', '.join(missing)} not installed (pip install dcm-classifier)")
    series = list(_mr_series(folder))
    answers = [None] * len(series) if missing else ask([files for *_, files in series])
    ours: Counter = Counter()
    theirs: Counter = Counter()
    print(f"{'series':<58} {'truth':<9} {'radnet':<22} {RIVAL}")
    for (name, truth, said, family, _), answer in zip(series, answers, strict=True):
        group = "paper" if truth in TAXONOMIES["paper"].sequence else "other"
        # T1 or T2 without a technique is no answer where SE is asked, and the right one where it is not.
        known = said or (family if family not in ("T1", "T2") or group == "other" else None)
        verdict, rival = judge(truth, (said,) if said else (), known), ""
        ours[group, verdict] += 1
        if answer is not None:
            judged = judge_rival(truth, answer)
            theirs[group, judged] += 1
            rival = f"{answer or 'no answer'}: {judged}"
        print(f"{name[-58:]:<58} {truth:<9} {f'{known or None}: {verdict}':<22} {rival}")
    found = []
    for group in ("paper", "other"):
        total = sum(count for (one, _), count in ours.items() if one == group)
        for verdict in VERDICTS:
            rival = {} if missing else {"rival": RIVAL, "rival_values": [theirs[group, verdict]]}
            metric, judged = f"labels/real/{group}/{verdict}", {}
            if verdict == "wrong":
                most = 1 if group == "paper" else 0
                judged = {"target": f"<= {most}", "met": lambda value, _, most=most: value <= most}
            found.append(record(metric, [ours[group, verdict]], f"of {total}", **rival, **judged))
    return found


def judge(truth: str, classes: Iterable[str], answer: str | None) -> str:
    """right, wrong or abstained. classes: those of the paper's five that the answer may mean, () for one that means
    none of them, which is right outside the five; answer: None where the reader does not know."""
    if not answer:
        return "abstained"
    if truth in TAXONOMIES["paper"].sequence:
        return "right" if truth in classes else "wrong"
    return "wrong" if classes else "right"


def judge_rival(truth: str, answer: str) -> str:
    """`judge` for an answer of dcm-classifier; "" and INVALID are none."""
    return judge(truth, _SAME.get(answer, ()), None if answer in ("", "INVALID") else answer)


def _mr_series(folder: Path):
    """(path, class by hand, radnet's class of the paper's or None, family or None, files) of every MR series."""
    from radnet.shards.dicom import read_header
    from radnet.shards.inventory import Archive, group_all, list_files
    from radnet.shards.privacy import PrivacyKey

    key = PrivacyKey(secrets.token_bytes(32), is_public=False)
    rows = {}
    records = [read_header(path) for path in list_files(str(folder))]
    for row in group_all([Archive(records, "real", "")], key):
        rows.setdefault(row.private["series_uid"], row)
    for truth in csv.DictReader((folder / "truth.csv").open(newline="")):
        row = rows[truth["series_uid"]]
        if row.header.get("Modality") == "MR" and truth["sequence"] != "EXCLUDE":
            read = labels.read(row.header)
            said = TAXONOMIES["paper"].sequence_finding(read).value
            yield truth["path_glob"], truth["sequence"], said, read.family.value, row.files


def ask(series: list[list[str]]) -> list[str]:
    """What dcm-classifier says of each list of files: its class, INVALID, or "" where it raises, dies or hangs."""
    answers: list[str] = []
    while len(answers) < len(series):
        with get_context("spawn").Pool(1) as pool:  # leaving it ends the process, whatever that is doing
            try:
                for files in series[len(answers) :]:
                    answers.append(pool.apply_async(_classify, (files,)).get(LIMIT_S))
            except TimeoutError:
                answers.append("")
    return answers


def _classify(files: list[str]) -> str:
    """Runs in a process of its own; the files are linked into a folder, as the study that the classifier expects."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    try:
        from dcm_classifier.image_type_inference import ImageTypeClassifierBase
        from dcm_classifier.study_processing import ProcessOneDicomStudyToVolumesMappingBase

        with TemporaryDirectory(prefix="radnet-bench-") as study:
            for number, file in enumerate(files):
                (Path(study) / f"{number:06d}.dcm").symlink_to(file)
            found = ProcessOneDicomStudyToVolumesMappingBase(study, inferer=ImageTypeClassifierBase())
            found.run_inference()
            said = {one.get_series_modality() for one in found.series_dictionary.values()}
    except Exception:  # whatever it raises is its answer
        return ""
    return said.pop() if len(said) == 1 else ""
