"""``python -m adaqual_training.ablation --updates 1800``: what prompts are worth, at equal budget.

Four restorers are trained from the same start on the same pictures: told all; without prompts; with one severity per picture; and
without the global prompt's statistics. Each is measured on the held-out pictures at 1, 2 and 4 steps.
"""

import argparse
import json
from pathlib import Path

from adaqual_core.checkpoint import load_assessor, load_denoiser
from adaqual_training import restorer
from adaqual_training.__main__ import add_arguments
from adaqual_training.data import held_out, load_corpus

PICTURES = 24
"""Per kind of damage that is measured."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m adaqual_training.ablation", description=__doc__)
    parser.add_argument("--corpus", default="runs/corpus", help="folder made by python -m adaqual_training.corpus")
    parser.add_argument("--run", type=Path, default=Path("runs/ablation"), help="folder of the four runs (default runs/ablation)")
    parser.add_argument("--updates", type=int, default=1800, help="of training, each (default 1800: about 20 minutes)")
    own = parser.parse_args()
    common = argparse.ArgumentParser()
    add_arguments(common)
    cases = held_out(load_corpus(Path(own.corpus), "held"), 256, PICTURES)
    kinds = [kind for kind in cases if kind != "clean"]
    print(f"| told | updates | steps | {' | '.join(kinds)} | mean | clean |")
    print("| --- " * (len(kinds) + 5) + "|")
    for without in (None, *restorer.WITHOUT):
        name = f"without {without}" if without else "all"
        folder = own.run / name.replace(" ", "-")
        given = ["restorer", "--corpus", own.corpus, "--run", str(folder), "--updates", str(own.updates), "--batch", "16",
                 "--size", "96", "--every", "100000"]  # fmt: skip
        args = common.parse_args(given + (["--without", without] if without else []))
        restorer.train(args)
        updates = json.loads((folder / "log.jsonl").read_text().splitlines()[-1])["iteration"]
        model, assessor = load_denoiser(folder / "restorer.safetensors"), load_assessor()
        for steps in (1, 2, 4):
            found = restorer.evaluate(model, assessor, cases, steps=steps, without=without)
            gains = " | ".join(f"{found[kind]:+.2f}" for kind in kinds)
            print(f"| {name} | {updates} | {steps} | {gains} | {found['mean_gain']:+.3f} | {found['clean']:.1f} |", flush=True)


if __name__ == "__main__":
    main()
