"""A process that has imported seqgen, and runs the `seqgen` and `python` of a shell, each in a fork.

Starting Python and importing torch takes seconds, a fork takes none. What a command line says is taken as the
program itself takes it; trainings end after `STEPS` steps, and a few sizes that no option gives are smaller.
"""

import dataclasses
import importlib
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys
import traceback
from pathlib import Path

PROGRAMS = ("seqgen", "python")
ADDRESS = "SEQGEN_TEST_SERVER"
"""The variable of the environment that has the server's address."""
CLIENT = f"""#!{sys.executable} -ES
import os, socket, sys

with socket.socket(socket.AF_UNIX) as server:
    server.connect(os.environ["{ADDRESS}"])
    words = [os.path.basename(sys.argv[0]), os.getcwd(), *sys.argv[1:]]
    socket.send_fds(server, [b"\\0".join(map(os.fsencode, words))], [0, 1, 2])
    code = server.recv(16)
sys.exit(int(code) if code else 70)
"""
"""What a shell calls in place of each program: it hands its words and its three streams over."""
NOT_IMPORTED = {"seqgen.__main__", "seqgen.generation.triton_draw"}
IMPORTED_LATE = (
    "seqgen.cli.main",
    "torch._dynamo",
    "sacrebleu",
    "sklearn.linear_model",
    "tensorboardX",
    "matplotlib.pyplot",
)
"""What a command imports within a function and takes long, so that no fork has to."""
STEPS = 2
SAMPLES = 61
"""Steps of a training, and samples of a run that is evaluated or reported, at most."""
MANY = 1_000
"""Sentences that `seqgen sample` samples, at most."""


def make_clients(folder: Path) -> None:
    """Write the programs that a shell is to find first."""
    folder.mkdir()
    for name in PROGRAMS:
        (folder / name).write_text(CLIENT)
        (folder / name).chmod(0o755)


def make_small() -> None:
    """Shrink what no option gives, or what an option of a documented command makes long."""
    from seqgen.algorithms.residual_config import ResidualConfig
    from seqgen.cli import evaluate, report
    from seqgen.data import corpus
    from seqgen.generation.oracles import OracleSpec
    from seqgen.inference import generate
    from seqgen.training import time_budget
    from seqgen.training.job import Job

    train = Job.train

    def train_shortly(job: Job, *args: object, **options: object) -> object:
        job.plan = dataclasses.replace(job.plan, steps=min(job.plan.steps, STEPS))
        return train(job, *args, **options)  # type: ignore[arg-type]

    Job.train = train_shortly  # type: ignore[assignment,method-assign]
    sample = generate.generate
    generate.generate = lambda trained, n, **options: sample(trained, min(n, MANY), **options)
    time_budget.measure = lambda *args, **options: time_budget.Timing(step=9.0, report=9.0)
    evaluate.RUN_SAMPLES = SAMPLES
    corpus.BUILT_IN_SIZES.update(train=400, valid=50, test=50)
    for function, name, value in (
        (report.report, "n", SAMPLES),
        (ResidualConfig.__init__, "held_out_samples", 100),
        (ResidualConfig.__init__, "candidates", 2),
        (OracleSpec.__init__, "sentences", 100),
    ):
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        defaults = list(function.__defaults__ or ())
        defaults[names.index(name) - len(names)] = value
        function.__defaults__ = tuple(defaults)  # type: ignore[attr-defined]


def call(program: str, arguments: list[str]) -> None:
    """Run a program in this process."""
    sys.argv = [program, *arguments]
    if program == "seqgen":
        from seqgen.cli import main

        main.main()
        return
    sys.path.insert(0, os.getcwd())
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")


def answer(connection: socket.socket) -> None:
    """Run what one client asks for, in a fork, and tell it the exit code."""
    message, streams, *_ = socket.recv_fds(connection, 1 << 16, 3)
    if os.fork():
        for each in (*streams, connection.fileno()):
            os.close(each)
        connection.detach()
        return
    code = 1
    try:
        for number, each in enumerate(streams):
            os.dup2(each, number)
        sys.stdin, sys.stdout, sys.stderr = (
            open(number, mode, closefd=False, encoding="utf-8")  # noqa: SIM115
            for number, mode in enumerate("rww")
        )
        program, folder, *arguments = map(os.fsdecode, message.split(b"\0"))
        os.chdir(folder)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        call(program, arguments)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        connection.sendall(str(code).encode())
        os._exit(0)


def serve(address: str) -> None:
    """Answer clients until standard input ends."""
    import torch

    import seqgen

    for each in pkgutil.walk_packages(seqgen.__path__, "seqgen."):
        if each.name not in NOT_IMPORTED:
            importlib.import_module(each.name)
    for name in IMPORTED_LATE:
        importlib.import_module(name)
    torch.set_num_threads(1)
    make_small()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        while listening in select.select([listening, sys.stdin], [], [])[0]:
            answer(listening.accept()[0])


if __name__ == "__main__":
    serve(sys.argv[1])
