"""A short deterministic run of what `python -m tests.fuzz` does for long, with mutations that hypothesis shrinks."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import file_seeds, header_seeds, read_one_header
from tests.measure import outcome_of
from tests.mutate import KINDS, Mutation, elements_of, mutated
from tests.series import write_series

MUTATION = st.builds(
    Mutation,
    st.sampled_from(KINDS),
    st.integers(0, 2**31 - 1),
    st.integers(0, 2**32 - 1),
    st.binary(min_size=1, max_size=8),
)
MUTATIONS = st.lists(MUTATION, min_size=1, max_size=4)
QUICK = {
    "derandomize": True,
    "deadline": None,
    "database": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}


@pytest.fixture(scope="module")
def seeds_folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("seeds")


def test_mutated_headers_end_with_a_code(seeds_folder, tmp_path):
    seeds, path, seen = header_seeds(seeds_folder / "headers"), tmp_path / "a.dcm", Counter()

    @settings(max_examples=1500, **QUICK)
    @given(number=st.integers(0, 10_000), mutations=MUTATIONS)
    def run(number: int, mutations: list[Mutation]) -> None:
        path.write_bytes(mutated(seeds[number % len(seeds)], mutations))
        seen[read_one_header(str(path))] += 1

    run()
    assert len(seen) >= 8 and seen["ok"] > 50, seen


def test_mutated_files_end_with_a_volume_or_a_code(seeds_folder, tmp_path):
    """In a child each: where a native decoder dies of it, that is a worker that dies (see test_decoder_crash.py)."""
    seeds, seen = file_seeds(seeds_folder / "files"), Counter()

    @settings(max_examples=250, **QUICK)
    @given(number=st.integers(0, 10_000), mutations=MUTATIONS)
    def run(number: int, mutations: list[Mutation]) -> None:
        first, *others = seeds[number % len(seeds)]
        files = []
        for at, content in enumerate([mutated(first, mutations), *others]):
            files.append(str(tmp_path / f"{at}.dcm"))
            Path(files[-1]).write_bytes(content)
        code = outcome_of(files, 20.0, min_slices=2, max_voxels=1 << 24).code
        assert not code.startswith("escape") and code != "hang", code
        seen[code] += 1

    run()
    assert len(seen) >= 8 and seen["ok"] > 20, seen


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_mutation_changes_a_file(tmp_path, kind):
    content = Path(write_series(tmp_path, 1)[0]).read_bytes()
    assert len(elements_of(content)) > 25
    changed = {mutated(content, [Mutation(kind, at, at * 7919, b"\x80\x01")]) for at in range(40)}
    assert len(changed - {content}) > 10
