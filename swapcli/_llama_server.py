"""`swapcli llama-server`: llama.cpp's own HTTP server, from the xllamacpp wheel, with llama-server's flags.

A model server like any other, for machines that have none: the demo and the tests run it as a child process.
Only click is imported before the model's own needs, because this module's import is part of every swap.
"""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._extras import MissingExtra, extra
from ._failure import Failure

if TYPE_CHECKING:
    import xllamacpp  # type: ignore[import-untyped]  # a compiled module without stubs

_POOLING = ("none", "mean", "cls", "last", "rank")
_LOAD_MODES = ("auto", "none", "mmap", "mlock", "mmap_mlock", "direct_io")
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@click.command(
    "llama-server",
    short_help="Run one GGUF model with llama.cpp.",
    epilog="The model is ready once GET /health answers 200. SIGTERM stops it, a second one at once.",
)
@click.option("-m", "--model", required=True, metavar="FILE", help="GGUF file to serve.")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="HOST", help="Address to listen on.")
@click.option(
    "--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="Port; 0: any free."
)
@click.option("-a", "--alias", metavar="NAMES", help="Names the API gives the model, separated by commas.")
@click.option(
    "-c", "--ctx-size", default=0, type=click.IntRange(0), help="Context in tokens; 0: the model's own."
)
@click.option(
    "-np", "--parallel", default=4, show_default=True, type=click.IntRange(1), help="Requests at once."
)
@click.option("-t", "--threads", default=-1, type=int, help="CPU threads; -1: as many as there are cores.")
@click.option(
    "-tb", "--threads-batch", default=-1, type=int, help="CPU threads for prompts; -1: as --threads."
)
@click.option("--threads-http", default=-1, type=int, help="Threads that answer HTTP; -1: llama.cpp chooses.")
@click.option(
    "-b", "--batch-size", default=2048, show_default=True, type=click.IntRange(1), help="Logical batch."
)
@click.option(
    "-ub", "--ubatch-size", default=512, show_default=True, type=click.IntRange(1), help="Physical batch."
)
@click.option(
    "-ngl",
    "--n-gpu-layers",
    "--gpu-layers",
    default=-1,
    type=int,
    help="Layers on the GPU; -1: all that fit.",
)
@click.option("-n", "--predict", "--n-predict", default=-1, type=int, help="Default token limit; -1: none.")
@click.option("-s", "--seed", type=click.IntRange(-1, 2**32 - 1), help="Default seed of the sampler.")
@click.option("--temp", "--temperature", type=click.FloatRange(0), help="Default temperature.")
@click.option("--embeddings", "--embedding", is_flag=True, help="Answer /v1/embeddings.")
@click.option("--pooling", type=click.Choice(_POOLING), help="How token embeddings become one.")
@click.option("--reranking", "--rerank", is_flag=True, help="Answer /v1/rerank.")
@click.option("--metrics", is_flag=True, help="Answer /metrics.")
@click.option("--props", is_flag=True, help="Allow POST /props.")
@click.option("--slots/--no-slots", default=True, show_default=True, help="Answer /slots.")
@click.option(
    "--warmup/--no-warmup", default=True, show_default=True, help="Run the model once before it is ready."
)
@click.option(
    "--load-mode",
    default="auto",
    show_default=True,
    type=click.Choice(_LOAD_MODES),
    help="How the file is read.",
)
@click.option(
    "--jinja/--no-jinja", default=True, show_default=True, help="Use the model's chat template as written."
)
@click.option("--chat-template", metavar="TEMPLATE", help="Use this chat template instead of the model's.")
@click.option("--api-key", metavar="KEYS", help="Keys that requests must carry, separated by commas.")
@click.option("--api-prefix", metavar="PATH", help="Path that goes before every route.")
@click.option(
    "-to",
    "--timeout",
    default=3600,
    show_default=True,
    type=click.IntRange(1),
    help="Seconds to read or write.",
)
@click.option(
    "-lv", "--verbosity", default=3, show_default=True, type=click.IntRange(0), help="How much is logged."
)
def llama_server(**flags: Any) -> None:
    """Run one GGUF model with llama.cpp, with the flags of its llama-server.

    Needs the extra `llama`: pip install 'swapcore[llama]'

    \b
        swapcli llama-server -m tiny.gguf --port 9001 -t 1
    """
    # While the model loads nobody looks at signals, and a stop must not wait for that: they kill at once.
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    model = Path(flags["model"])
    if not model.is_file():
        raise Failure(f"no such model file: {model}")
    try:
        with extra("llama"):
            import xllamacpp
    except MissingExtra as missing:
        raise Failure(str(missing)) from missing
    try:
        server = xllamacpp.Server(_parameters(xllamacpp.CommonParams(), flags))
    except RuntimeError as failure:
        # What went wrong is in llama.cpp's own lines above, on the same stream.
        raise Failure(f"llama.cpp could not serve {model}: {failure}") from failure
    stopping = _StopSignal()
    print(f"listening on {server.listening_address}", flush=True)
    stopping.wait()
    del server  # lets open requests end, as llama-server does


def _parameters(parameters: xllamacpp.CommonParams, flags: dict[str, Any]) -> xllamacpp.CommonParams:
    """``parameters`` with the flags put in, after llama-server's own reading of them."""
    import xllamacpp

    parameters.model.path = flags["model"]
    parameters.hostnames = [flags["host"]]
    parameters.port = flags["port"]
    parameters.n_ctx = flags["ctx_size"]
    parameters.n_parallel = flags["parallel"]
    parameters.cpuparams.n_threads = flags["threads"]
    parameters.cpuparams_batch.n_threads = flags["threads_batch"]
    parameters.n_threads_http = flags["threads_http"]
    parameters.n_batch = flags["batch_size"]
    parameters.n_ubatch = flags["ubatch_size"]
    parameters.n_gpu_layers = flags["n_gpu_layers"]
    parameters.n_predict = flags["predict"]
    parameters.endpoint_metrics = flags["metrics"]
    parameters.endpoint_props = flags["props"]
    parameters.endpoint_slots = flags["slots"]
    parameters.warmup = flags["warmup"]
    parameters.use_jinja = flags["jinja"]
    parameters.timeout_read = parameters.timeout_write = flags["timeout"]
    parameters.verbosity = flags["verbosity"]
    parameters.embedding = flags["embeddings"] or flags["reranking"]
    parameters.load_mode = getattr(xllamacpp.llama_load_mode, f"LLAMA_LOAD_MODE_{flags['load_mode'].upper()}")
    if pooling := "rank" if flags["reranking"] else flags["pooling"]:
        parameters.pooling_type = getattr(
            xllamacpp.llama_pooling_type, f"LLAMA_POOLING_TYPE_{pooling.upper()}"
        )
    if flags["alias"]:
        parameters.model_alias = set(_listed(flags["alias"]))
    if flags["api_key"]:
        parameters.api_keys = _listed(flags["api_key"])
    if flags["api_prefix"]:
        parameters.api_prefix = flags["api_prefix"]
    if flags["chat_template"]:
        parameters.chat_template = flags["chat_template"]
    if flags["seed"] is not None:
        parameters.sampling.seed = flags["seed"] % 2**32  # -1, "random", is the largest unsigned number
    if flags["temp"] is not None:
        parameters.sampling.temp = flags["temp"]
    return parameters


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


class _StopSignal:
    """The first SIGTERM or SIGINT, as something to wait for; the second one kills."""

    def __init__(self) -> None:
        # The wakeup descriptor is written to whichever thread the signal falls on, and llama.cpp has several.
        # A signal that Python only notes would wait for the main thread, which waits here.
        self._woken, self._wakes = socket.socketpair()
        self._wakes.setblocking(False)
        signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        for number in _STOP_SIGNALS:
            signal.signal(number, self._stop)

    def wait(self) -> None:
        """Block until the signal came."""
        while self._woken.recv(1)[0] not in _STOP_SIGNALS:
            pass

    @staticmethod
    def _stop(_number: int, _frame: object) -> None:
        for number in _STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
