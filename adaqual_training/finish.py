"""``python -m adaqual_training.finish see|grid|detail``: teach the finish what assessor and sampler leave of degraded pictures.

``see`` restores whole pictures with the shipped weights and keeps of each a view, some of its pixels and a crop; several such
calls with seeds of their own may run at once. ``grid`` and ``detail`` train that part of the finish on all that was kept, and
resume from their states; ``join`` puts the newest weights of both together.
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from adaqual_core.assessor import AssessorNet
from adaqual_core.checkpoint import load_assessor, load_denoiser, load_finish, save_model
from adaqual_core.denoiser import Denoiser
from adaqual_core.finish import Finish
from adaqual_core.quality import without_faint_regions
from adaqual_core.tonegrid import sliced, view_of
from adaqual_training.data import DegradedPictures, held_out, load_corpus
from adaqual_training.loop import Run, bfloat16_is_fast
from adaqual_training.restorer import preserved, restore_cases

SIZE, LATTICE, CROP = 256, 48, 112
"""Side in px of the whole pictures, of the lattice of pixels on which the grid's loss is taken, and of the crop for detail."""

PLACES = ((torch.arange(LATTICE) + 0.5) * SIZE / LATTICE).long()
"""Where the lattice's pixels are."""

CLEAN, COMPOSED, UNEVEN = 0.08, 0.85, 0.2
"""Shares of pictures that are clean, that are as much of a photo as there is, and that are damaged in a region only."""

FILE = 512
"""Examples in a file."""


def bytes_of(x: Tensor) -> Tensor:
    """[0, 1] as parts of 255."""
    return (x * 255).round().to(torch.uint8)


def examples(model: Denoiser, assessor: AssessorNet, degraded: Tensor, clean: Tensor, steps: int = 2) -> dict[str, Tensor]:
    """What is kept of pictures [B, 3, SIZE, SIZE]: their view; restored, clean and mask [B, 7, ...] on the lattice; the
    same after the degraded picture [B, 10, CROP, CROP] in a crop."""
    scores = without_faint_regions(assessor(degraded).float())
    restored = restore_cases(model, degraded, scores, steps)
    mask = preserved(scores, degraded.shape[-2:])
    top, left = torch.randint(0, SIZE - CROP + 1, (2,)).tolist()
    crop = torch.cat((degraded, restored, clean, mask), 1)[..., top : top + CROP, left : left + CROP]
    return {
        "view": view_of(degraded, restored, (5 - scores) / 4).half(),
        "lattice": bytes_of(torch.cat((restored, clean, mask), 1)[..., PLACES, :][..., PLACES]),
        "crop": bytes_of(crop).contiguous(),
    }


def see(args: argparse.Namespace) -> None:
    """Keep ``args.count`` examples, on one core; one sampling step leaves nearly what two do, in half the time."""
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    model, assessor = load_denoiser(), load_assessor()
    data = DegradedPictures(load_corpus(args.corpus, "train"), SIZE, args.seed, CLEAN, composed=COMPOSED, uneven=UNEVEN)
    batches, fast = iter(DataLoader(data, 8)), bfloat16_is_fast(torch.device("cpu"))
    args.run.mkdir(parents=True, exist_ok=True)
    for number in tqdm(range(args.count // FILE), unit=f"{FILE} pictures"):
        kept = []
        for _ in range(FILE // 8):
            batch = next(batches)
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=fast):
                kept.append(examples(model, assessor, batch["degraded"], batch["clean"], steps=1))
        joined = {name: torch.cat([part[name] for part in kept]) for name in kept[0]}
        save_file(joined, args.run / f"seen-{args.seed}-{number:04}.safetensors")


COLOURS = {"view": (0, 3, 6, 10, 13, 16), "lattice": (0, 3), "crop": (0, 3, 6)}
"""Where in an example's channels there are three colours."""


def recoloured(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The batch with its colours in another order."""
    order = torch.randperm(3)
    found = {name: value.clone() for name, value in batch.items()}
    for name in batch:
        for first in COLOURS[name]:
            found[name][:, first : first + 3] = batch[name][:, first + order]
    return found


def part_of(view: Tensor) -> tuple[Tensor, Tensor, float]:
    """A view [B, CHANNELS, VIEW, VIEW] of a square part of what it showed, that part's corner (y, x) and side, as parts of the
    picture's sides. Shown whole photos only, the grid learnt them by heart."""
    side = 1 - 0.5 * float(torch.rand(()).clamp_min(0.2) - 0.2)
    corner = torch.rand(2) * (1 - side)
    centre = (2 * corner + side - 1).tolist()
    move = torch.tensor([[side, 0, centre[1]], [0, side, centre[0]]], device=view.device).expand(len(view), 2, 3)
    return F.grid_sample(view, F.affine_grid(move, list(view.shape), False), "bilinear", "border", False), corner, side


def grid_errors(net: Finish, batch: dict[str, Tensor], device: torch.device, whole: bool = True) -> tuple[Tensor, Tensor]:
    """Mean square error [B] on the lattice before and after the tone grid; unless ``whole``, of a random part of the pictures."""
    restored, clean, mask = (batch["lattice"].to(device).float() / 255).split((3, 3, 1), 1)
    view, corner, side = batch["view"].to(device).float(), torch.zeros(2), 1.0
    if not whole:
        view, corner, side = part_of(view)
        view = view + 0.05 * torch.randn(view.shape, device=device)
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16_is_fast(device)):
        grid = net.grid(view.contiguous(memory_format=torch.channels_last))
    inside, places = [], []
    for start in corner.tolist():
        place = ((PLACES + 0.5) / SIZE - start) / side
        inside.append(((place > 0) & (place < 1)).nonzero()[:, 0].to(device))
        places.append(place.to(device)[inside[-1]])
    restored, clean, mask = (x[..., inside[0], :][..., inside[1]] for x in (restored, clean, mask))
    after = (restored + mask * sliced(grid, restored, *places)).clamp(0, 1)
    return (restored - clean).square().mean((1, 2, 3)), (after - clean).square().mean((1, 2, 3))


def grid_loss(net: Finish, batch: dict[str, Tensor], device: torch.device) -> Tensor:
    """Mean square error after the tone grid as a share of the one before, which decides the gain in dB; errors below 25 dB count
    ever less, for nearly clean pictures would outweigh all others."""
    before, after = grid_errors(net, batch, device, whole=False)
    return ((after + 1e-4) / (before + 3e-3)).mean()


def fine(x: Tensor) -> Tensor:
    """What is not even over 17 px."""
    return x - F.avg_pool2d(F.pad(x, (8,) * 4, mode="reflect"), 17, 1)


def detail_errors(net: Finish, batch: dict[str, Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """A crop's error in detail [B, 3, CROP, CROP] before and after; tone and contrast are not asked of it: the clean
    detail counts as strong as it is in the restored crop."""
    picture, restored, clean, mask = (batch["crop"].to(device).float() / 255).split((3, 3, 3, 1), 1)
    found, true = fine(restored), fine(clean)
    contrast = (found * true).sum((2, 3), keepdim=True) / (true.square().sum((2, 3), keepdim=True) + 1e-3)
    before = (found - contrast.clamp(0, 1.5) * true) * (mask > 0)
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16_is_fast(device)):
        change = net.detail(picture, restored)
    return before, before + mask * change.float()


def detail_loss(net: Finish, batch: dict[str, Tensor], device: torch.device) -> Tensor:
    """Mean square error of detail as a share of the one before; what is below 1/100 counts ever less."""
    before, after = (e.square().mean((1, 2, 3)) for e in detail_errors(net, batch, device))
    return (after / (before + 1e-4)).mean()


def measured(net: Finish, cases: dict[str, dict[str, Tensor]], part: str) -> dict[str, float]:
    """Mean gain in dB per kind: the tone grid's over the sampler, or the detail's over the sampler, in detail only."""
    found, device = {}, torch.device("cpu")
    with torch.no_grad():
        for kind, case in cases.items():
            if part == "grid":
                before, after = grid_errors(net, case, device)
            else:
                before, after = (e.square().mean((1, 2, 3)) for e in detail_errors(net, case, device))
            found[kind] = round(float((10 * torch.log10((before + 1e-7) / (after + 1e-7))).mean()), 2)
    found["mean_gain"] = round(sum(gain for kind, gain in found.items() if kind != "clean") / (len(found) - 1), 3)
    return found


LOSSES: dict[str, Callable] = {"grid": grid_loss, "detail": detail_loss}
PARTS = {"grid": ("view", "lattice"), "detail": ("crop",)}
"""What of the examples each part is trained on."""


def learn(args: argparse.Namespace) -> None:
    """Train one part of the finish for ``args.hours``."""
    device = torch.device(args.device)
    torch.manual_seed(args.seed)
    model, assessor = load_denoiser(), load_assessor()
    with torch.inference_mode():
        cases = {kind: examples(model, assessor, case["degraded"], case["clean"])
                 for kind, case in held_out(load_corpus(args.corpus, "held"), SIZE, args.held).items()}  # fmt: skip
    files = [load_file(path) for path in sorted(args.run.glob("seen-*.safetensors"))]
    if not files:
        raise ValueError(f"--run {args.run}: nothing seen; call 'python -m adaqual_training.finish see --run {args.run}' first")
    names = PARTS[args.what]
    seen = {name: torch.cat([file[name] for file in files]) for name in names}
    if args.what == "detail":
        seen["crop"] = seen["crop"][seen["crop"][:, -1].float().mean((1, 2)) > 25]
    del files
    run = Run(args.run / args.what, load_finish(args.init) if args.init else Finish(), args.rate, args.hours, device)
    loss_of, count = partial(LOSSES[args.what], run.model), len(seen[names[0]])
    print(f"{count} examples", flush=True)
    running, finished = None, False
    while not finished:
        chosen = torch.randint(count, (args.batch,))
        batch = {name: seen[name][chosen] for name in names}
        if torch.rand(()) < 0.5:
            batch = {name: value.flip(-1) for name, value in batch.items()}
        loss = loss_of(recoloured(batch) if torch.rand(()) < 0.3 else batch, device)
        run.step(loss, 0.998)
        running = loss.item() if running is None else running + (loss.item() - running) / 200
        finished = run.finished()
        if run.done.iteration % args.every == 0 or finished:
            run.save("finish.safetensors", loss=round(running, 5), **measured(run.average.cpu(), cases, args.what))
            run.average.to(device)


def join(args: argparse.Namespace) -> None:
    """Write the run's finish.safetensors: each part as its own training left it."""
    net, hours = Finish(), {}
    for part in LOSSES:
        path = args.run / part / "finish.safetensors"
        getattr(net, part).load_state_dict(getattr(load_finish(path), part).state_dict())
        with safe_open(path, "pt") as file:
            hours[part] = json.loads(file.metadata()["notes"])
    save_model(net, args.run / "finish.safetensors", hours)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m adaqual_training.finish", description=__doc__)
    parser.add_argument("what", choices=("see", *LOSSES, "join"))
    parser.add_argument("--corpus", type=Path, default=Path("runs/corpus"), help="folder made by python -m adaqual_training.corpus")
    parser.add_argument("--run", type=Path, default=Path("runs/finish"), help="folder of examples, state and log")
    parser.add_argument("--count", type=int, default=20480, help=f"examples to see, in whole files of {FILE} (default 20480)")
    parser.add_argument("--init", type=Path, help="start from the weights of this file")
    parser.add_argument("--hours", type=float, default=0.5, help="of training (default 0.5)")
    parser.add_argument("--batch", type=int, default=64, help="examples per update (default 64)")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate (default 1e-3)")
    parser.add_argument("--every", type=int, default=500, help="updates between measurements (default 500)")
    parser.add_argument("--held", type=int, default=12, help="held-out pictures per kind of damage (default 12)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    {"see": see, "join": join}.get(given.what, learn)(given)
