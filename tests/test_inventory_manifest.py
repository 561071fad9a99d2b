"""Manifests: every form of a line, bad lines by number, damaged files."""

import random

import pytest

from radnet.errors import UsageError
from radnet.shards.inventory import manifest
from tests.idc import uuid_of

A = uuid_of(1)


def parsed(tmp_path, text: str | bytes, name: str = "list.s5cmd") -> manifest.Listed:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return manifest.parse(path)


@pytest.mark.parametrize(
    "line",
    [
        f"cp s3://idc-open-data/{A}/* .",
        f"cp 's3://idc-open-data/{A}/*' /data/here",
        f'cp "s3://idc-open-data-two/{A}/*" "my folder"',
        f"s5cmd --no-sign-request --endpoint-url https://s3.amazonaws.com cp --concurrency 8 s3://idc/{A}/* .",
        f"cp --show-progress -n s3://idc-open-data/{A}/ .   # the first",
        f"cp s3://idc-open-data/{A}/1f5a0c1e-0000-4000-8000-000000000001.dcm .",
        f"  sync  s3://idc-open-data-cr/{A.upper()}/* out",
        f"cp gs://public-datasets-idc/{A}/* .",
        f"s3://idc-open-data/{A}/*",
        f"cp 's3://idc-open-data/{A}/* .",
    ],
)
def test_every_form_of_a_line_names_its_series(tmp_path, line):
    listed = parsed(tmp_path, f"# comment\n\n{line}\n")
    assert listed.names == {A: 3} and listed.num_lines == 1 and not listed.bad and listed.kind == "s5cmd"


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.encode(),
        lambda text: text.replace("\n", "\r\n").encode("utf-8-sig"),
        lambda text: text.encode("utf-16"),
        lambda text: b"# caf\xe9\n" + text.encode(),
    ],
    ids=["plain", "windows", "utf-16", "latin"],
)
def test_bad_lines_are_told_by_number_and_the_rest_is_read(tmp_path, encode):
    text = f"cp_command\ncp s3://idc/{A}/* .\ncp s3://other/thing/* .\ncp here there\ncp s3://x/{A}/* .\nrm -r /\n"
    listed = parsed(tmp_path, encode(text))
    first = 1 if encode(text).startswith(b"# caf") else 0
    assert listed.names == {A: 2 + first} and listed.num_lines == 2
    assert [line.number - first for line in listed.bad] == [1, 3, 4, 6]
    assert str(listed.bad[1]).endswith("no UUID of a series in its source: cp s3://other/thing/* .")


def test_a_tcia_manifest_is_keys_and_then_uids(tmp_path):
    text = "downloadServerUrl=https://x/y\nincludeAnnotation=true\nstray\nmanifestVersion=3.0\n"
    text += "ListOfSeriesToDownload=\n1.2.1\n1.2.2 \n\n1.2.1\nnot a uid\n" + "1." + "2" * 80 + "\n"
    listed = parsed(tmp_path, text.replace("\n", "\r\n").encode("utf-8-sig"), "x.tcia")
    assert (listed.kind, listed.names, listed.num_lines) == ("tcia", {"1.2.1": 6, "1.2.2": 7}, 3)
    assert [line.number for line in listed.bad] == [3, 10, 11]
    assert parsed(tmp_path, "ListOfSeriesToDownload=1.2.1\n1.2.2", "x.txt").names == {"1.2.1": 1, "1.2.2": 2}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.s5cmd", "", "lists no series; expected lines like cp s3://"),
        ("a.s5cmd", "# only comments\n", "lists no series"),
        ("a.s5cmd", "hello\nworld\n", "line 1: not a cp line: hello"),
        ("a.tcia", "ListOfSeriesToDownload=\n", "expected UIDs below ListOfSeriesToDownload="),
        ("a.tcia", "databasketId=x\n", "lists no series"),
    ],
)
def test_a_manifest_without_a_series_is_refused(tmp_path, name, text, said):
    with pytest.raises(UsageError, match=said) as caught:
        parsed(tmp_path, text, name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.s5cmd", "a.tcia"])
def test_damaged_manifests_are_read_or_refused(tmp_path, name):
    rng = random.Random(7)
    whole = f"ListOfSeriesToDownload=\n1.2.3\ncp 's3://idc/{A}/*' .\n# é\n".encode()
    outcomes = set()
    for _ in range(500):
        content = bytearray(whole * 3)
        for _ in range(rng.randint(0, 60)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        try:
            outcomes.add(bool(parsed(tmp_path, bytes(content[: rng.randint(0, len(content))]), name).names))
        except UsageError as error:
            assert "\n" not in str(error)
            outcomes.add("refused")
    assert outcomes == {True, "refused"}
