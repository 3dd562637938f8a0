"""This module starts a ComfyUI with this pack, talks to its HTTP interface, and stops it. It needs the standard library only.

A server works in a base directory of its own (custom_nodes, input, output, models, user, temp), so a ComfyUI that the user named
with COMFYUI_PATH is only read.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
APP = REPOSITORY / ".comfyui" / "app"
PACK = "ComfyUI-AdaQual"
FOLDERS = ("custom_nodes", "input", "output", "models", "user", "temp")
START_SECONDS = 300


class ServerError(RuntimeError):
    """This error is raised when ComfyUI does not start, refuses a prompt or fails while running one. The message says
    what to do.
    """


@dataclass(frozen=True)
class Server:
    """This class is a running ComfyUI: its address, its process id, its base directory and its log file."""

    address: str
    pid: int
    base: Path
    log: Path


def comfyui_folder() -> Path:
    """Return the ComfyUI to run: COMFYUI_PATH if it is set, otherwise the one that `make setup` unpacks."""
    named = os.environ.get("COMFYUI_PATH")
    folder = Path(named).expanduser().resolve() if named else APP
    if not (folder / "main.py").is_file():
        remedy = "Set COMFYUI_PATH to the folder with main.py, or unset it." if named else "Run `make setup`."
        raise ServerError(f"No ComfyUI at {folder}. {remedy}")
    return folder


def prepare_base(base: Path, pack: Path = REPOSITORY) -> None:
    """Make a base directory with the pack linked into custom_nodes and the example pictures in input.

    pictures/NAME becomes input/adaqual_NAME. The front end's first-visit tour is marked as done.
    """
    for folder in FOLDERS:
        (base / folder).mkdir(parents=True, exist_ok=True)
    link = base / "custom_nodes" / PACK
    if not link.is_symlink():
        link.symlink_to(pack, target_is_directory=True)
    for example in sorted((pack / "pictures").glob("*.*")):
        shutil.copyfile(example, base / "input" / f"adaqual_{example.name}")
    settings = base / "user" / "default" / "comfy.settings.json"
    if not settings.exists():
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(json.dumps({"Comfy.TutorialCompleted": True}))


def free_port(preferred: int = 0) -> int:
    """Return the preferred port if nobody listens there, otherwise any free one."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise ServerError("No free port on 127.0.0.1.")


def start(base: Path, port: int = 0) -> Server:
    """Start ComfyUI on the CPU in a prepared base directory; return when it answers.

    Python runs without its site module: what was installed in place (`pip install -e .`) stays invisible, and
    the pack is found in custom_nodes only, as on a user's machine.
    """
    folder = comfyui_folder()
    port = port or free_port()
    log = base / "comfyui.log"
    command = [
        sys.executable,
        "-S",
        "-u",
        "main.py",
        "--cpu",
        "--port",
        str(port),
        "--base-directory",
        str(base),
        "--database-url",
        f"sqlite:///{base / 'user' / 'comfyui.db'}",
        "--disable-api-nodes",
        "--disable-auto-launch",
    ]
    environment = {**os.environ, "PYTHONPATH": sysconfig.get_paths()["purelib"], "DO_NOT_TRACK": "1"}
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    server = Server(f"http://127.0.0.1:{port}", process.pid, base, log)
    try:
        _wait_until_up(server, process)
        _check_pack(server)
    except BaseException:
        stop(server)
        raise
    return server


def _wait_until_up(server: Server, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not answers(server.address):
        if process.poll() is not None:
            raise ServerError(
                f"ComfyUI ended with status {process.returncode} while starting.\n{tail(server.log)}\n"
                "Remedy: run `make setup`; for a ComfyUI of your own (COMFYUI_PATH), also install what its "
                "requirements.txt lists into .venv."
            )
        if time.monotonic() > deadline:
            raise ServerError(f"ComfyUI did not answer within {START_SECONDS} s.\n{tail(server.log)}")
        time.sleep(0.3)


def _check_pack(server: Server) -> None:
    """Raise when ComfyUI came up without the pack."""
    log = server.log.read_text(errors="replace")
    if not any("IMPORT FAILED" in line and PACK in line for line in log.splitlines()):
        return
    cause = [line for line in log.splitlines() if PACK in line and "IMPORT FAILED" not in line]
    refused = re.search(rf"^Cannot import .*{PACK}", log, re.MULTILINE)
    if refused:
        cause.insert(0, log[max(log.rfind("Traceback", 0, refused.start()), 0) : refused.start()])
    raise ServerError("\n".join(["ComfyUI could not import the pack.", *cause, f"Whole log: {server.log}"]))


def stop(server: Server) -> None:
    """End the server and wait until it is gone."""
    for sign, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)):
        try:
            os.kill(server.pid, sign)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if not _alive(server.pid):
                return
            time.sleep(0.1)


def _alive(pid: int) -> bool:
    """Return whether a process runs. If it is an ended child of this process, it is collected."""
    try:
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return False
    except ChildProcessError:
        pass  # started by another process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def running(base: Path) -> Iterator[Server]:
    """Run a server in a base directory that is prepared here, and stop it at the end whatever happens."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # then the server ends with us, as at Ctrl-C
    prepare_base(base)
    server = start(base)
    try:
        yield server
    finally:
        stop(server)


def tail(log: Path, lines: int = 40) -> str:
    """Return the end of a log file, with its path."""
    text = log.read_text(errors="replace").splitlines()[-lines:]
    return "\n".join([f"--- the last lines of {log}", *text, "---"])


def answers(address: str) -> bool:
    """Return whether a ComfyUI answers at this address."""
    try:
        get_json(address, "/system_stats")
    except (OSError, ValueError):
        return False
    return True


def get_json(address: str, path: str) -> dict:
    """Fetch one JSON answer."""
    with urllib.request.urlopen(address + path, timeout=60) as answer:
        return json.load(answer)


def queue(address: str, prompt: dict) -> str:
    """Queue an API-format prompt; return its id."""
    body = json.dumps({"prompt": prompt}).encode()
    request = urllib.request.Request(f"{address}/prompt", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["prompt_id"]
    except urllib.error.HTTPError as refusal:
        raise ServerError(f"ComfyUI refused the prompt: {_refusal(refusal.read())}") from None


def _refusal(body: bytes) -> str:
    """Return one line for each thing that ComfyUI refuses in a prompt."""
    try:
        answer = json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
    lines = [f"{answer['error']['message']} {answer['error'].get('details', '')}".strip()]
    for node, found in answer.get("node_errors", {}).items():
        name = f"node {node} ({found['class_type']})"
        lines += [f"{name}: {error['message']}: {error['details']}" for error in found["errors"]]
    return "\n  ".join(lines)


def wait(address: str, prompt_id: str, seconds: float = 300) -> dict[str, dict]:
    """Wait for a queued prompt; return its outputs, {node id: {"images": [...], ...}}."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        entry = get_json(address, f"/history/{prompt_id}").get(prompt_id)
        if entry:
            if entry["status"]["status_str"] != "success":
                raise ServerError(_failure(entry["status"]["messages"]))
            return entry["outputs"]
        time.sleep(0.2)
    raise ServerError(f"Prompt {prompt_id} did not finish within {seconds:.0f} s.")


def _failure(messages: list) -> str:
    for kind, detail in messages:
        if kind == "execution_error":
            raised = f"{detail['exception_type'].rpartition('.')[2]}: {detail['exception_message'].strip()}"
            trace = "".join(detail["traceback"][-2:])
            return f"node {detail['node_id']} ({detail['node_type']}) raised {raised}\n{trace}"
    return f"The prompt did not succeed: {messages}"


def run(address: str, prompt: dict, seconds: float = 300) -> dict[str, dict]:
    """Queue an API-format prompt and wait for its outputs."""
    return wait(address, queue(address, prompt), seconds)


def images(outputs: dict[str, dict]) -> list[dict]:
    """Return every picture among a prompt's outputs as a dict with filename, subfolder and type."""
    return [image for output in outputs.values() for image in output.get("images", [])]


def fetch(address: str, image: dict) -> bytes:
    """Return the file of one output picture."""
    with urllib.request.urlopen(f"{address}/view?{urllib.parse.urlencode(image)}", timeout=60) as answer:
        return answer.read()
