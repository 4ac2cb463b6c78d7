"""Commands that can be pasted, at the end of every help text."""

from collections.abc import Iterator

import typer
from typer.models import CommandInfo, TyperInfo

EXAMPLES = {
    "": ("seqgen pretrain", "seqgen sample --n 20", "seqgen evaluate"),
    "pretrain": (
        "seqgen pretrain",
        "seqgen pretrain --corpus captions.txt --minutes 5",
        "seqgen pretrain sentence-vae --corpus captions.txt --run runs/vae",
    ),
    "adversarial": (
        "seqgen adversarial",
        "seqgen adversarial seqgan --init runs/mle-scenes",
        "seqgen adversarial scratchgan --corpus captions.txt",
    ),
    "sample": (
        "seqgen sample --n 20",
        'seqgen sample --temperature 0.8 --prompt "a man"',
        "seqgen sample --n 1000 --format jsonl --out samples.jsonl",
    ),
    "evaluate": (
        "seqgen evaluate",
        "seqgen evaluate --temperatures 0.7,0.85,1.0,1.15 --plot curve.png",
        "seqgen evaluate --hyp samples.txt --ref test.txt --train captions.txt",
    ),
    "report": (
        "seqgen report",
        "seqgen report --run runs/mle-scenes --run runs/residual-scenes",
        "seqgen report --run runs/image-vae-digits",
    ),
    "export": (
        "seqgen export --run runs/mle-scenes --to onnx --out onnx",
        "seqgen export --run runs/mle-scenes --to hf --out hub",
    ),
    "replay": (
        "seqgen replay runs/mle-scenes",
        "seqgen replay runs/residual-scenes/config.json --run runs/residual-2",
        "seqgen replay runs/mle-scenes --compile --run runs/compiled",
    ),
    "runs": ("seqgen runs", "seqgen runs --json", "seqgen runs runs/mle-scenes"),
    "score": ("seqgen score test.txt", "seqgen score --auroc", "seqgen score test.txt --out scores.tsv"),
    "reconstruct": (
        'seqgen reconstruct "a man rides a horse."',
        "seqgen reconstruct --file test.txt --format jsonl",
    ),
    "interpolate": (
        "seqgen interpolate",
        'seqgen interpolate "a man rides a horse." "two dogs sleep." --steps 5',
    ),
    "neighbours": (
        'seqgen neighbours "a man rides a horse."',
        "seqgen neighbours --file test.txt --n 3 --format jsonl",
    ),
    "encode": (
        "seqgen encode captions.txt --out latents.npy",
        "seqgen encode test.txt --run runs/sentence-vae-scenes --out test.npy",
    ),
    "map": ("seqgen map", "seqgen map test.txt --method pca --out map.png"),
    "image": ("seqgen image train", "seqgen image sample", "seqgen image evaluate"),
    "image train": (
        "seqgen image train",
        "seqgen image train vae --set latent_dim=2 --run runs/plane",
        "seqgen image train gan --data pictures --minutes 5",
    ),
    "image evaluate": ("seqgen image evaluate", "seqgen image evaluate --n 1000 --json"),
    "image sample": ("seqgen image sample", "seqgen image sample --n 25 --columns 5 --out samples.png"),
    "image reconstruct": ("seqgen image reconstruct", "seqgen image reconstruct --n 20 --out pairs.png"),
    "image interpolate": ("seqgen image interpolate", "seqgen image interpolate --rows 4 --points 12"),
    "image latent": ("seqgen image latent", "seqgen image latent --view pca --out latents.png"),
    "image traverse": ("seqgen image traverse", "seqgen image traverse --dimensions 5 --points 7"),
    "image activations": (
        "seqgen image activations",
        "seqgen image activations --n 5 --out activations.png",
    ),
    "image denoise": ("seqgen image denoise", "seqgen image denoise --noise 0.5 --out denoised.png"),
    "image anomaly": (
        "seqgen image anomaly --anomalous 8 --out scores.csv",
        "seqgen image anomaly --data pictures --format jsonl",
        "seqgen image anomaly --normal 1 --quantile 0.95",
    ),
    "image left-out": ("seqgen image left-out", "seqgen image left-out autoencoder --epochs 5 --json"),
    "image few-labels": ("seqgen image few-labels", "seqgen image few-labels --labels 20,100 --draws 3"),
    "image augment": ("seqgen image augment", "seqgen image augment gan --labels 100 --draws 3"),
    "corpora": (
        "seqgen corpora list",
        "seqgen corpora show scenes",
        "seqgen corpora stats captions.txt",
    ),
    "corpora list": ("seqgen corpora list", "seqgen corpora list --json"),
    "corpora show": ("seqgen corpora show scenes --n 10", "seqgen corpora show coco"),
    "corpora stats": ("seqgen corpora stats captions.txt", "seqgen corpora stats couplets --json"),
    "corpora fetch": ("seqgen corpora fetch coco", "seqgen corpora fetch coco --out data/coco"),
    "bench": ("seqgen bench speed", "seqgen bench oracle --quick", "seqgen bench text --quick"),
    "bench speed": (
        "seqgen bench speed",
        "seqgen bench speed --no-sentence-vae --no-discriminators --sentences 0",
        "seqgen bench speed --sizes medium --cells lstm,gru --out runs/speed",
    ),
    "bench oracle": (
        "seqgen bench oracle --quick",
        "seqgen bench oracle --quick --algorithms all --rewards none",
        "seqgen bench oracle --oracle lstm-0 --length 20 --algorithms seqgan",
    ),
    "bench jobs": (
        "seqgen bench jobs --quick --corpus scenes",
        "seqgen bench jobs --corpus names.txt --corpus captions.txt --minutes 2",
        "seqgen bench jobs --search",
    ),
    "bench images": ("seqgen bench images", "seqgen bench images --models vae,gan --sizes 28,64"),
    "bench scale": (
        "seqgen bench scale --quick",
        "seqgen bench scale --sizes 100000,1000000 --tasks pretrain,sample",
        "seqgen bench scale",
    ),
    "bench text": (
        "seqgen bench text --quick",
        "seqgen bench text --corpus captions.txt --test test.txt --seeds 3",
    ),
}
"""Two or three commands of each command and group, by the words after `seqgen`."""


def append_to(app: typer.Typer) -> None:
    """End the help of an application, and of every command below it, with its examples.

    KeyError where a command has none.
    """
    for path, info in _commands(app, ()):
        lines = "\n".join(f"  {each}" for each in EXAMPLES[" ".join(path)])
        before = info.epilog if isinstance(info.epilog, str) else ""
        info.epilog = f"{before}\n\n\b\nExamples:\n{lines}".lstrip("\n")


def _commands(
    app: typer.Typer, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], CommandInfo | TyperInfo]]:
    """Yield every group and command of an application with the words that call it."""
    yield path, app.info
    for command in app.registered_commands:
        assert command.callback is not None
        yield (*path, command.name or command.callback.__name__.replace("_", "-")), command
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from _commands(group.typer_instance, (*path, str(group.name)))
