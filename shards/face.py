"""Which volumes may show a face: from a head, a face can be rebuilt, so a site may want to leave them out."""

from radnet.labels import Labels

_HEAD = frozenset({"brain", "upper_head_neck", "lower_head_neck"})


def face(labels: Labels) -> str:
    """ "yes" where the header names a part of head or neck, "no" where it names other regions, else "unknown".

    A part that holds none of the nine regions may be an orbit as well as a knee: that is "unknown".
    """
    regions = labels.coverage.value
    if not regions:
        return "unknown"
    return "yes" if _HEAD & set(regions) else "no"
