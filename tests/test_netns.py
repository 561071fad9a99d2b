"""Two real nodes: network namespaces with addresses and sshd of their own, joined by `deepspeed --hostfile`."""

import os
import subprocess

import pytest

from tests.conftest import ROOT
from tests.corpus import write_set
from tests.hosts import HOSTS, INTERFACE, missing, two_hosts
from tests.jobs import BIN, TOY, losses, pretrain

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """Two hosts that reach each other by ssh; yields the folder with their configurations."""
    if reason := missing("pdsh"):
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("hosts")
    (folder / "hostfile").write_text("".join(f"{host} slots=1\n" for host in HOSTS))
    # What DeepSpeed passes on to the other nodes.
    (folder / "environment").write_text(f"GLOO_SOCKET_IFNAME={INTERFACE}\nDS_ACCELERATOR=cpu\nOMP_NUM_THREADS=1\n")
    with two_hosts(folder):
        yield folder


def test_two_nodes_train_as_one_node_that_accumulates(hosts, tmp_path):
    shards = write_set(tmp_path / "set", {"train": 14, "validation": 3})
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert pretrain(alone, shards).returncode == 0
    command = ["ip", "netns", "exec", "radnet-a", str(BIN / "deepspeed"), f"--hostfile={hosts / 'hostfile'}"]
    command += [f"--master_addr={HOSTS['radnet-a']}", "--master_port=29561", str(ROOT / "launch" / "pretrain.py")]
    environment = os.environ | {
        "PATH": f"{hosts / 'bin'}:{BIN}:{os.environ['PATH']}",
        "DS_ACCELERATOR": "cpu",
        "DS_ENV_FILE": str(hosts / "environment"),
        "PDSH_RCMD_TYPE": "ssh",
    }
    words = [*command, *TOY, f"run={together}", f"data.shards={shards}"]
    result = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert "2 processes" in result.stdout
    expected, found = losses(alone), losses(together)
    assert [found[step] for step in sorted(found)] == pytest.approx(
        [expected[step] for step in sorted(expected)], rel=1e-4
    )
