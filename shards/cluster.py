"""The nodes of Ray beside the work they do: whether each sees the folders, and numbers for Ray's page of metrics."""

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from radnet import store
from radnet.errors import UsageError
from radnet.shards.config import ShardConfig
from radnet.urls import is_local


def refuse_unshared(out: str, config: ShardConfig) -> None:
    """Raise UsageError naming each node that does not see `out` or a source, before work is given to it.

    out: the shard set's folder, which exists, or a URL. A folder may well be there under the same name on a disk of the
    node's own, so the node must read a token just written. URLs are not checked, nor a node added later.
    """
    nodes = _nodes()
    if len(nodes) < 2:
        return
    folders = [os.path.realpath(source.path) for source in config.sources if os.path.isdir(source.path)]
    token = secrets.token_hex(16)
    with _token_file(out, token) as file:
        answers = list(_on_each(nodes, unseen, file, token, folders))
    lost = [f"{host} does not see {', '.join(paths)}" for host, paths in answers if paths]
    if lost:
        raise UsageError(f"every node must see the archive and out at the same path, but {'; '.join(lost)}")


@contextmanager
def _token_file(out: str, token: str) -> Iterator[str]:
    """The path of a file in the shard set's folder that holds the token; "" for a URL."""
    if not is_local(out):
        yield ""
        return
    # Named like a file that is being written, so that one left by a driver that died is cleared away.
    with NamedTemporaryFile("w", prefix=f"{store.TEMPORARY}token-", dir=out) as file:
        file.write(token)
        file.flush()
        os.fsync(file.fileno())  # or a network file system may keep it to itself
        yield file.name


def unseen(token_file: str, token: str, folders: Sequence[str]) -> list[str]:
    """Which of these this process does not see: the folder of the token ("" = none), and folders of sources."""
    missing = [folder for folder in folders if not os.path.isdir(folder)]
    if not token_file:
        return missing
    try:
        is_same = Path(token_file).read_text("ascii") == token
    except (OSError, ValueError):
        is_same = False
    return missing if is_same else [os.path.dirname(token_file), *missing]


def _nodes() -> list[dict[str, Any]]:
    """Ray's record of each node that can be given work."""
    import ray

    return [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]


def _on_each(
    nodes: Sequence[dict[str, Any]], function: Callable[..., list[str]], *arguments: Any
) -> Iterator[tuple[str, list[str]]]:
    """function(*arguments) on every node, all at once: host with its address, result.

    Raises UsageError naming a node without this radnet, or one that does not answer.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote = ray.remote(num_cpus=0, max_retries=0)(function)
    references = []
    for node in nodes:
        place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        references.append(remote.options(scheduling_strategy=place).remote(*arguments))
    for node, reference in zip(nodes, references, strict=True):
        host = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        try:
            yield host, ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise UsageError(f"node {host} cannot run this radnet: {reason}") from None
        except ray.exceptions.RayError:
            raise UsageError(
                f"node {host} does not answer; run again when it is back, or Ray knows it is not"
            ) from None


def counter(name: str, text: str, tag: str = "") -> Callable[..., None]:
    """A number on Ray's page of metrics that only grows. Returns add(num, value of the tag)."""
    from ray.util.metrics import Counter

    metric = Counter(name, text, (tag,) if tag else ())

    def add(num: int, value: str = "") -> None:
        if num:  # Ray refuses to add nothing
            metric.inc(num, {tag: value} if tag else None)

    return add
