"""A label with the reason it was given."""

from dataclasses import dataclass
from typing import Any

BY_HAND = "override by "  # how the evidence of a label begins that a human set; no rule's does


@dataclass(frozen=True)
class Finding:
    """One label. value: None where the rules cannot tell. confidence: 0 to 1; 0 where value is None.

    evidence: the tag and the rule, e.g. "EchoTime 9 ms and RepetitionTime 500 ms: short, short"; never free text of
    the header, because it is stored beside the shards.
    """

    value: Any
    confidence: float
    evidence: str


def abstain(evidence: str) -> Finding:
    """A label that the header does not decide, and why not."""
    return Finding(None, 0.0, evidence)
