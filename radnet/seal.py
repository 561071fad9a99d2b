"""JSON that carries the hash of its own content, so that a flipped bit in it is found without another file."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_HASH = "sha256"


def seal(content: Mapping[str, Any]) -> bytes:
    """`content` as indented JSON, with the hash of all its values under "sha256"."""
    return (json.dumps({**content, _HASH: _hash(content)}, indent=1) + "\n").encode()


def unseal(sealed: bytes) -> dict[str, Any]:
    """What was sealed. Raises ValueError where it is no JSON object, or not the one that was sealed."""
    content = json.loads(sealed)
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    if content.pop(_HASH, None) != _hash(content):
        raise ValueError("its content is not the one it was written with")
    return content


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
