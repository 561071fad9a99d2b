"""Names into keyed hashes, in the inventory and nowhere else, so that workers and shards never see a name."""

import hashlib
import hmac
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from radnet.errors import UsageError

_PUBLIC = "public"
# Published on purpose: anyone can recompute these hashes, so it is for public and synthetic archives only.
_PUBLIC_SECRET = hashlib.sha256(b"radnet public privacy key").digest()
_NUM_SECRET_BYTES = 32
_NUM_HEX = 20


@dataclass(frozen=True, repr=False)
class PrivacyKey:
    """A secret of 32 bytes that turns names into hashes. is_public: the published constant, no secret at all."""

    secret: bytes
    is_public: bool

    def hash(self, kind: str, name: str) -> str:
        """20 hex characters of HMAC-SHA256 over `kind` ("patient", "study", "series", "file") and `name`."""
        message = f"{kind}\0{name}".encode("utf-8", "surrogateescape")
        return hmac.new(self.secret, message, hashlib.sha256).hexdigest()[:_NUM_HEX]

    @property
    def fingerprint(self) -> str:
        """20 hex characters that name the key without giving it away; equal fingerprints mean equal hashes."""
        return self.hash("fingerprint", "")


def load_key(path: str) -> PrivacyKey:
    """The key in the file `path`, created with mode 600 on first use; "public" is the published constant.

    Raises UsageError where the file does not hold 64 hexadecimal digits or cannot be read or created.
    """
    if path == _PUBLIC:
        return PrivacyKey(_PUBLIC_SECRET, is_public=True)
    file = Path(path).expanduser()
    try:
        content = file.read_text("ascii").strip() if file.exists() else _create(file)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"privacy.key {path} cannot be used ({type(error).__name__}); name a readable key file"
        ) from error
    if not re.fullmatch(rf"[0-9a-f]{{{2 * _NUM_SECRET_BYTES}}}", content):
        raise UsageError(f"privacy.key {path} is not a key file: expected 64 hexadecimal digits; name another file")
    return PrivacyKey(bytes.fromhex(content), is_public=False)


def _create(file: Path) -> str:
    """Write a new key beside its name and link it there: two processes that do so at once use the same one."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = file.with_name(f"{file.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(secrets.token_hex(_NUM_SECRET_BYTES) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    try:
        os.link(aside, file)
    except FileExistsError:
        pass  # another process was first; its key is read below
    finally:
        aside.unlink()
    return file.read_text("ascii").strip()
