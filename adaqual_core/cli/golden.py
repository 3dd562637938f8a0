"""This module is ``adaqual golden``: it compares our networks with outputs of their reference implementations."""

import argparse
import json
import sys

from ..console import say
from ..published.golden import check_golden


def run(args: argparse.Namespace, planned: None) -> int:
    """Print every output's relative error. Returns exit status 0 where all are below their tolerances, otherwise 1.

    JSON has no infinity, so an output of another shape or with NaN is reported as the largest float.
    """
    report = check_golden(args.input)
    errors = {name: min(error, sys.float_info.max) for name, error in report["outputs"].items()}
    for name, error in errors.items():
        limit = report["tolerances"][name]
        say(f"{name}: {error:.2e}" + ("" if error < limit else f", ABOVE the tolerance of {limit:g}"))
    worst = max(errors.values())
    say(f"{args.input}: {report['family']}, largest relative error {worst:.2e}, {'passed' if report['passed'] else 'FAILED'}")
    if args.json:
        say(json.dumps({"family": report["family"], "outputs": errors, "max_rel_err": worst}))
    return 0 if report["passed"] else 1
