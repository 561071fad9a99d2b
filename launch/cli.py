"""The one console command: `radnet VERB …`. Also what every program shares: exit codes, one-line errors, help."""

import argparse
import errno
import importlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from radnet.config import describe
from radnet.errors import USAGE, UsageError

_SECONDS_BETWEEN_LINES = 0.2
VERBS = {
    "inventory": "an archive before a byte is downloaded: labels, draw, splits, budget",
    "label": "audit a folder of DICOM: what every series is, how sure that is and why",
    "shard": "archive of DICOM series → shard set",
    "verify": "re-hash a shard set and cross-check its tables",
    "show": "one sample of a shard set as a picture or as NIfTI",
    "relabel": "read the labels of a shard set again, or set them by hand, without touching a tar",
    "pretrain": "train a backbone on header labels",
    "evaluate": "Table 1: how well the labels are predicted",
    "finetune": "segment, from pretrained or random weights",
    "export": "weights for other people: safetensors, config, card",
    "report": "one self-contained HTML page of a run",
    "phantom": "write the digital phantom as DICOM folders",
    "demo": "the whole line on the digital phantom",
    "bench": "measure radnet beside its rivals",
}


def run(main: Callable[[list[str]], int], argv: list[str] | None = None) -> None:
    """Run one program and leave with its exit code: 2 and one line for a user's mistake, 130 for Ctrl-C."""
    try:
        code = main(sys.argv[1:] if argv is None else argv)
    except UsageError as error:
        if os.environ.get("LOCAL_RANK", "0") == "0":  # one line for each machine, not for each process
            print(f"radnet: {error}", file=sys.stderr)
        code = USAGE
    except KeyboardInterrupt:
        print("radnet: interrupted", file=sys.stderr)
        code = 130
    except ModuleNotFoundError as error:
        # A core install lacks the extras; a module of radnet's own that is missing is a bug and keeps its traceback.
        if (error.name or "").startswith("radnet"):
            raise
        print(f"radnet: {error.name} is not installed; in a checkout: pip install '.[all]'", file=sys.stderr)
        code = USAGE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except OSError as error:
        # A path the user gave, or a full disk; an error of the system without either is ours and keeps its traceback.
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        where = f" ({error.filename})" if error.filename else ""
        print(f"radnet: {error.strerror}{where}; mend that and run again", file=sys.stderr)
        code = USAGE
    sys.exit(code)


def config_parser(verb: str, doc: str, schema: type) -> argparse.ArgumentParser:
    """A parser of `CONFIG key=value …` whose help lists every key of the schema."""
    rows = [f"  {key} = {default!r}\n      {text}" for key, default, text in describe(schema)]
    parser = argparse.ArgumentParser(
        prog=f"radnet {verb}",
        description=doc,
        epilog="keys:\n" + "\n".join(rows),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", metavar="CONFIG", help="a YAML file, or the name of one of radnet's own")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="override a key of the config")
    return parser


def existing_folder(path: str, what: str) -> Path:
    """The folder, or UsageError in one line naming what was expected there."""
    folder = Path(path)
    if not folder.is_dir():
        raise UsageError(f"{path!r} is not a folder; expected {what}")
    return folder


def shard_set(path: str) -> str:
    """The folder or URL of a shard set, or UsageError in one line where a folder is none."""
    return path if "://" in path else str(existing_folder(path, "a finished shard set"))


class Ticker:
    """One line on the terminal that says how far a long run is, written over itself; nothing where stderr is a file."""

    def __init__(self) -> None:
        self._is_shown, self._last = sys.stderr.isatty(), 0.0

    def show(self, line: str) -> None:
        """Replace the line, a few times a second at most."""
        if self._is_shown and time.monotonic() - self._last > _SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the line away, before something else is printed."""
        if self._is_shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def usage() -> str:
    """The list of verbs."""
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {text}" for verb, text in VERBS.items()]
    return "usage: radnet VERB …\n\n" + "\n".join(lines) + "\n\nradnet VERB --help says more"


def main() -> None:
    """Entry point of the console command."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(usage())
        sys.exit(0 if len(sys.argv) > 1 else USAGE)
    verb = sys.argv[1]
    if verb not in VERBS:
        print(f"radnet: unknown verb {verb!r}; expected one of {', '.join(VERBS)}", file=sys.stderr)
        sys.exit(USAGE)
    run(importlib.import_module(f"radnet.launch.{verb}").main, sys.argv[2:])


if __name__ == "__main__":
    main()
