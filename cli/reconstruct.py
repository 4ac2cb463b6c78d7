"""`seqgen reconstruct`: encode sentences and decode them from their latents."""

from seqgen.cli import common, latent_common


def reconstruct(
    text: latent_common.Texts = None,
    run: latent_common.Run = None,
    corpus: common.Moved = None,
    file: latent_common.File = None,
    column: common.Column = None,
    encoding: common.Encoding = None,
    separator: common.Separator = None,
    label: latent_common.Label = None,
    label_column: latent_common.LabelColumn = None,
    temperature: latent_common.Temperature = 0.0,
    seed: latent_common.Seed = 0,
    format: latent_common.Format = "text",
    device: common.Device = "auto",
    threads: common.Threads = None,
    trust: common.Trust = False,
    quiet: common.Quiet = False,
) -> None:
    """Reconstruct sentences from their latents; with jsonl also the reconstruction loss (nll) in nats."""
    latent_common.check_format(format)
    trained, notify = latent_common.load_with_latents(run, device, threads, trust, quiet, corpus)
    from seqgen.data.reading import Reading
    from seqgen.inference import latent_space

    how = Reading(column, encoding, separator, label_column)
    texts = latent_common.read_texts(trained, notify, text, file, how, n=10, seed=seed, label=label)
    pairs = latent_space.reconstruct(trained, texts, temperature=temperature, seed=seed)
    if format == "text":
        latent_common.print_lines([f"{pair.text}\n  → {pair.reconstruction}" for pair in pairs])
    else:
        latent_common.print_lines([latent_common.to_json(vars(pair)) for pair in pairs])
