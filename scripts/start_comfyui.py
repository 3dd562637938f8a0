"""This script starts a ComfyUI that stays running, with this pack, and prints its address; --stop ends it."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from comfy_server import APP, Server, ServerError, answers, free_port, prepare_base, start, stop

HOME = APP.parent / "home"
NOTE = HOME / "server.json"


def current() -> Server | None:
    """Return the server that was started before, if it still answers."""
    if not NOTE.is_file():
        return None
    note = json.loads(NOTE.read_text())
    server = Server(note["address"], note["pid"], Path(note["base"]), Path(note["log"]))
    return server if answers(server.address) else None


def main(argv: Sequence[str] | None = None) -> None:
    """Start the server unless it runs already and print its address, or stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stop", action="store_true", help="end the server that was started before")
    wanted = parser.parse_args(argv)
    server = current()
    if wanted.stop:
        if server:
            stop(server)
        NOTE.unlink(missing_ok=True)
        print("ComfyUI stopped." if server else "No ComfyUI was running.")
        return
    if not server:
        prepare_base(HOME)
        print("Starting ComfyUI …", flush=True)
        try:
            server = start(HOME, free_port(8188))
        except ServerError as error:
            sys.exit(str(error))
        NOTE.write_text(json.dumps(asdict(server), default=str))
    print(f"ComfyUI with AdaQual runs at {server.address} (files: {server.base}, log: {server.log}).")
    print("`make stop` ends it.")


if __name__ == "__main__":
    main()
