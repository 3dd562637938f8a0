"""How tests read what the command line printed."""

import json


def fails(result: tuple[int, str, str], message: str, status: int = 1) -> None:
    """Check that a run failed with one line on stderr and nothing on stdout; ``result`` is its status, stdout and stderr."""
    found, out, err = result
    assert (found, out) == (status, "")
    assert err.startswith("adaqual: error: ") and err.count("\n") == 1 and "Traceback" not in err
    assert message in err and "internal error" not in err


def last_object(out: str) -> dict:
    """The JSON object in the last line of what a run printed."""
    return json.loads(out.strip().splitlines()[-1])
