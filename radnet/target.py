"""The layout of a target row, shared by heads, losses and metrics.

[sequence, view, contrast, one column per coverage region (1 or 0), spacing_mm], float32, -1 where unknown.
"""

SINGLE_LABELS = ("sequence", "view", "contrast")
LABELS = (*SINGLE_LABELS, "coverage", "spacing")
