"""What the fuzzer kept, through each of its targets: no crash that was fixed comes back."""

from pathlib import Path

import pytest
from fuzz.targets import TARGETS
from hypothesis import given, settings
from hypothesis import strategies as st

CORPUS = Path(__file__).parent / "corpus"


def kept(target: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]


def test_every_target_has_a_corpus_and_every_corpus_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_whatever_was_kept_is_taken_as_it_should_be(target: str) -> None:
    inputs = kept(target)

    assert len(inputs) >= 3
    for data in inputs:
        TARGETS[target](data)


@pytest.mark.parametrize("target", TARGETS)
def test_whatever_is_like_what_was_kept_is_too(target: str) -> None:
    @settings(max_examples=150)
    @given(st.sampled_from(kept(target)), st.binary(max_size=12), st.integers(0, 4096))
    def mutated(data: bytes, inserted: bytes, at: int) -> None:
        at %= len(data) + 1
        TARGETS[target](data[:at] + inserted + data[at + len(inserted) // 2 :])

    mutated()
