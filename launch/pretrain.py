"""Train a backbone on header labels, from a shard set.

    deepspeed --num_accelerators 2 launch/pretrain.py CONFIG key=value …
    radnet pretrain CONFIG key=value …        (one process)

Run the same command again to resume. SIGTERM or SIGUSR1 to the training processes (not to DeepSpeed's launcher, which
does not pass them on) saves and exits with 75.
"""

from radnet.config import TrainConfig, load
from radnet.launch.cli import config_parser
from radnet.launch.training import run_training
from radnet.task import LabelTask


def main(argv: list[str]) -> int:
    """Parse, train, return the exit code."""
    parser = config_parser("pretrain", __doc__, TrainConfig)
    parser.add_argument("--local_rank", help="set by DeepSpeed's launcher")
    arguments = parser.parse_intermixed_args(argv)
    config = load(TrainConfig, arguments.config, arguments.overrides)
    return run_training(config, LabelTask(config))


if __name__ == "__main__":
    from radnet.launch.cli import run

    run(main)
