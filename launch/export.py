"""Write the weights of a run for other people: model.safetensors, config.json, README.md. Nothing in it is a pickle."""

import argparse
import json
from pathlib import Path

from radnet import checkpoint, export
from radnet.errors import OK, UsageError


def main(argv: list[str]) -> int:
    """Parse, check that the weights load, write; returns the exit code."""
    parser = argparse.ArgumentParser(prog="radnet export", description=__doc__)
    parser.add_argument("run", metavar="RUN", help="a run folder or one of its checkpoints")
    parser.add_argument("out", metavar="OUT", help="folder to write; an earlier export there is replaced")
    parser.add_argument("--evaluation", metavar="FILE", help="what radnet evaluate --out wrote, for the model card")
    arguments = parser.parse_args(argv)
    source = checkpoint.weights(arguments.run)
    model, config = export.load(source)
    card = (source / export.CARD).read_text()
    if arguments.evaluation:
        evaluation = _read(arguments.evaluation)
        if evaluation["weights_sha256"] != config["weights_sha256"]:
            raise UsageError(
                f"{arguments.evaluation!r} was made of other weights than {source}; run radnet evaluate again"
            )
        table = evaluation["header"]
        overall = {f"{row['label']}/{row['name']}": row["accuracy"] for row in table["rows"] if row["low"] is not None}
        config["metrics"] |= {f"test/accuracy/{name}": value for name, value in overall.items()}
        card += f"\n## Table 1, test split, against header labels\n\n```\n{table['text']}\n```\n"
    export.export(arguments.out, model.state_dict(), config, card)
    print(f"exported {source} to {arguments.out}")
    return OK


def _read(path: str) -> dict:
    try:
        content = json.loads(Path(path).read_text())
        content["header"]["rows"], content["weights_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"{path!r} is not what `radnet evaluate --out FILE` writes") from None
    return content


if __name__ == "__main__":
    from radnet.launch.cli import run

    run(main)
