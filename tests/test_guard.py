"""What the DICOM door lets pass to the driver, to the ledger and into shards: the machine's errors, no free text."""

import errno
import os
from pathlib import Path

import pytest

from radnet.shards.dicom import read_header, read_volume
from radnet.shards.ledger import Code, SeriesError
from radnet.shards.public import public_header
from tests.series import code_of, write_series


def test_only_codes_numbers_and_known_vendors_may_be_stored():
    header = {"Modality": "CANARY", "Manufacturer": "Doe Philips Medical", "ImageType": ["ORIGINAL", "doe"]}
    header |= {"ScanOptions": "SAT1", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "KVP": 120, "SequenceName": "doe"}
    header |= {"BodyPartExamined": "DOE JANE", "ManufacturerModelName": "DOE"}
    expected = {"Modality": "other", "Manufacturer": "PHILIPS", "ScanOptions": "SAT1", "KVP": 120}
    assert public_header(header) == expected | {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}
    assert public_header({"Manufacturer": "Doe", "SOPClassUID": "1.2.840.10009.1", "Modality": ["CT", "MR"]}) == {
        "Modality": "other"
    }


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENOMEM, errno.ENOENT])
def test_what_the_machine_does_is_no_fault_of_the_file(tmp_path, monkeypatch, number):
    files = write_series(tmp_path)

    def fails(*arguments, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("radnet.shards.dicom.walker.read", fails)
    with pytest.raises(OSError) as caught:
        read_volume(files)
    assert caught.value.errno == number


def test_no_memory_is_no_fault_of_the_file_but_a_forbidden_file_is(tmp_path, monkeypatch):
    files = write_series(tmp_path)

    def fails(error):
        def call(*arguments, **options):
            raise error

        return call

    monkeypatch.setattr("radnet.shards.dicom.walker.read", fails(MemoryError()))
    with pytest.raises(MemoryError):
        read_volume(files)
    monkeypatch.setattr("radnet.shards.dicom.walker.read", fails(PermissionError(errno.EACCES, "no")))
    assert read_header(files[0]).code is Code.UNREADABLE


def test_a_file_that_is_away_stops_the_reader(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_header(str(tmp_path / "missing"))


def test_files_of_two_series_are_no_volume(tmp_path):
    other = write_series(tmp_path / "b", edit=lambda dataset, _: setattr(dataset, "SeriesInstanceUID", "1.2.3.5"))
    assert code_of([*write_series(tmp_path / "a")[:10], *other[10:]]) is Code.CHANGED


def test_an_unknown_syntax_is_not_quoted(tmp_path):
    (file,) = write_series(tmp_path, 1)
    content = Path(file).read_bytes()
    Path(file).write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", b"DOE^CANARY".ljust(20, b"\0"), 1))
    with pytest.raises(SeriesError) as caught:
        read_volume([file] * 2, min_slices=2)
    assert "CANARY" not in str(caught.value)
