"""A native decoder that dies takes a worker along, never the run: its file is recorded as decoder_crash."""

import ctypes
import sys
import types
from pathlib import Path

import pytest
import ray
from pydicom.uid import RLELossless

from radnet.shards import actors, ledger
from radnet.shards.build import build
from radnet.shards.config import PrivacyConfig, ShardConfig, SourceConfig, SplitsConfig
from radnet.shards.dicom import read_volume
from radnet.shards.ledger import Code, SeriesError
from tests import hostile
from tests.series import write_series


@pytest.fixture(scope="module")
def workers():
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not see the folder of the tests
    with actors.session(2, "") as num_workers:
        yield num_workers


def read(files: list[str]) -> Code:
    """What a worker says of a series."""
    try:
        read_volume(files, min_slices=2)
    except SeriesError as error:
        return error.code
    return Code.OK


def read_with_a_decoder_that_dies(files: list[str]) -> Code:
    """`read`, with a decoder of RLE that reads from address 0 as a broken native one does."""
    from pydicom.pixels import get_decoder

    module = types.ModuleType("a_decoder_that_dies")
    module.is_available = lambda uid: True
    module.decode = lambda content, runner: ctypes.string_at(0)
    sys.modules[module.__name__] = module
    decoder = get_decoder(RLELossless)
    for name in decoder.available_plugins:
        decoder.remove_plugin(name)
    decoder.add_plugin("dies", (module.__name__, "decode"))
    return read(files)


def compressed(dataset, number: int) -> None:
    dataset.compress(RLELossless, generate_instance_uid=False)


def test_a_decoder_that_segfaults_is_recorded_for_its_series_alone(workers, tmp_path):
    plain = [write_series(tmp_path / str(number), 2) for number in range(4)]
    killer = write_series(tmp_path / "killer", 2, edit=compressed)
    chunks = [[plain[0], killer, plain[1]], [plain[2], plain[3]]]
    found = actors.run_tasks(read_with_a_decoder_that_dies, chunks, Code.DECODER_CRASH, workers, lambda num: None)
    assert found == [Code.OK, Code.DECODER_CRASH, Code.OK, Code.OK, Code.OK]


@pytest.mark.parametrize("make", [hostile.jpegls_precision, lambda folder: hostile.jpeg2000_head(folder, 1, 255)])
def test_files_that_killed_a_decoder_once_end_with_a_code(workers, tmp_path, make):
    """GDCM 3.2 aborts on both; whoever reads it refuses it before or records the death."""
    files = [make(tmp_path / "killer"), write_series(tmp_path / "plain", 2)]
    killer, plain = actors.run_tasks(read, [files], Code.DECODER_CRASH, workers, lambda num: None)
    assert killer in (Code.DECODE, Code.DECODER_CRASH) and plain is Code.OK


def test_a_killer_in_an_archive_is_one_row_of_the_ledger(workers, tmp_path):
    """Sharding goes on, the other series is sharded, and the killer is failed, not lost."""

    def uid(text: str):
        return lambda dataset, number: setattr(dataset, "SeriesInstanceUID", text)

    write_series(tmp_path / "in" / "plain", edit=uid("1.2.3.7"))
    hostile.jpegls_precision(tmp_path / "in" / "killer")
    splits, source = SplitsConfig(0.6, 0.2, 0.2), SourceConfig(str(tmp_path / "in"))
    config = ShardConfig(
        str(tmp_path / "out"), [source], "npy", splits, num_workers=1, min_slices=2, privacy=PrivacyConfig("public")
    )
    build(config, print)
    codes = sorted(str(row.code) for row in ledger.read(str(Path(config.out) / "ledger.parquet")))
    assert codes in (["decode", "ok"], ["decoder_crash", "ok"])
