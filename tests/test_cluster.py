"""Two nodes on one machine: work on both, names and numbers for the dashboard, folders that one node does not see."""

import json
import os
import re
import shutil
import subprocess
import time
from types import SimpleNamespace

import pytest

from radnet.shards.cluster import unseen
from tests.clusters import Cluster, bare_checkout, cluster, join, toy_config

# A file system of the node's own, empty, lies over folder $0.
HIDING = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"')


def test_a_token_tells_one_folder_from_another_of_its_name(tmp_path):
    token = tmp_path / "set" / "token"
    token.parent.mkdir()
    assert unseen(str(token), "t", [str(tmp_path)]) == [str(tmp_path / "set")]
    token.write_text("another driver's")
    assert unseen(str(token), "t", [str(tmp_path)]) == [str(tmp_path / "set")]
    token.write_text("t")
    assert unseen(str(token), "t", [str(tmp_path), str(tmp_path / "no")]) == [str(tmp_path / "no")]


def _can_hide() -> bool:
    probe = [*HIDING, "/mnt", "true"]
    return (
        os.geteuid() == 0
        and shutil.which("unshare") is not None
        and (subprocess.run(probe, capture_output=True, check=False).returncode == 0)
    )


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A head and a node of one core each; the node does not see `hidden`, where this machine allows that."""
    folder = tmp_path_factory.mktemp("pair")
    (folder / "hidden").mkdir()
    with cluster(num_cpus=1) as found:
        join(found, num_cpus=1, before=(*HIDING, str(folder / "hidden")) if _can_hide() else ())
        checkout = bare_checkout(folder / "checkout")
        yield SimpleNamespace(cluster=found, checkout=checkout, config=toy_config(folder, 3), folder=folder)


def _listed(cluster: Cluster, what: str) -> list[dict]:
    words = ["list", what, "--address", cluster.dashboard, "--format", "json", "--detail", "--limit", "1000"]
    return json.loads(cluster.ray(*words).stdout)


@pytest.mark.slow
def test_every_core_of_the_cluster_works_and_the_dashboard_says_on_what(pair):
    result = pair.cluster.submit(pair.checkout, str(pair.config), f"out={pair.folder / 'out'}")
    assert "7 series sharded" in result.stdout, result.stdout + result.stderr
    workers = [actor for actor in _listed(pair.cluster, "actors") if actor["class_name"] == "_Worker"]
    assert len({worker["node_id"] for worker in workers}) == 2
    names = {task["name"] for task in _listed(pair.cluster, "tasks")}
    shards = {path.stem for path in (pair.folder / "out").glob("*.tar")}
    assert len(shards) > 2 and shards <= names and "headers 0" in names


@pytest.mark.slow
def test_a_folder_that_one_node_does_not_see_is_refused_by_the_name_of_the_node(pair):
    if not _can_hide():
        pytest.skip("needs root and mount namespaces")
    out = pair.folder / "hidden" / "out"
    result = pair.cluster.submit(pair.checkout, str(pair.config), f"out={out}")
    assert "exit code 2" in result.stdout, result.stdout + result.stderr
    assert "every node must see the archive and out at the same path" in result.stdout
    assert f"does not see {out}" in result.stdout and result.stdout.count(" does not see ") <= 2  # log, shown twice
    assert [path.name for path in (out / "private").iterdir()] == ["lock"]
    archive = pair.folder / "hidden" / "in"
    shutil.copytree(pair.folder / "in", archive)
    copy = json.loads(pair.config.read_text())
    copy["sources"][0]["path"] = str(archive)
    (pair.folder / "hidden.yaml").write_text(json.dumps(copy))
    result = pair.cluster.submit(pair.checkout, str(pair.folder / "hidden.yaml"), f"out={pair.folder / 'other'}")
    assert f"does not see {archive};" not in result.stdout and f"does not see {archive}" in result.stdout


@pytest.mark.slow
def test_a_job_goes_on_without_a_node_that_is_lost(pair, tmp_path):
    config, out = toy_config(tmp_path, num_patients=12), pair.folder / "lost"
    submitted = pair.cluster.submit(pair.checkout, str(config), f"out={out}", options=("--no-wait",)).stdout
    job = re.search(r"raysubmit_\w+", submitted)[0]
    deadline = time.monotonic() + 300
    while not list(out.glob("*-*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pair.cluster.lose(1)
    while not (out / "index.json").is_file():
        assert time.monotonic() < deadline, pair.cluster.ray(
            "job", "logs", "--address", pair.cluster.dashboard, job
        ).stdout
        time.sleep(1)
    log = pair.cluster.ray("job", "logs", "--address", pair.cluster.dashboard, job).stdout
    assert "Traceback" not in log
