"""The process that runs one local model: `python -m tidemill.llm.runtime.child`, started by `process`.

It reads one line of JSON from standard input (`ChildOptions`), loads the model, and prints one line of JSON:
`{"port": …}` when it serves llama-server's HTTP on loopback, or `{"error": …}` when the model can't be loaded.
Its log goes to standard error. It ends at once when standard input does, so it never outlives its parent.
"""

import ctypes
import json
import os
import signal
import sys
import threading
from urllib.parse import urlsplit

import xllamacpp

from tidemill.llm.runtime.options import ChildOptions

LOG_ERRORS = 1
PR_SET_PDEATHSIG = 1


def main() -> None:
    """Runs until standard input ends or SIGTERM comes."""
    options = ChildOptions.from_line(sys.stdin.buffer.readline())
    _die_with(options.parent)
    threading.Thread(target=_wait_for_end_of_input, daemon=True).start()
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        server = xllamacpp.Server(parameters(options))
    except RuntimeError as error:
        print(json.dumps({"error": str(error)}), file=answer, flush=True)
        os._exit(1)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    print(json.dumps({"port": urlsplit(server.listening_address).port}), file=answer, flush=True)
    answer.close()
    while True:
        signal.pause()


def parameters(options: ChildOptions) -> xllamacpp.CommonParams:
    """llama.cpp's parameters: each slot has a context of its own, so a long request takes from no other."""
    params = xllamacpp.CommonParams()
    params.model.path = options.path
    params.model_alias = {options.alias}
    params.api_keys = [options.api_key]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = options.slots
    params.n_ctx = options.context_tokens * options.slots
    params.kv_unified = False
    params.fit_params = False
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    params.n_ctx_checkpoints = 4
    params.cpuparams.n_threads = options.threads
    params.cpuparams_batch.n_threads = options.threads
    params.use_jinja = True
    params.ui = False
    params.endpoint_slots = True
    params.endpoint_metrics = True
    params.offline = True
    params.verbosity = LOG_ERRORS
    params.n_threads_http = options.http_threads
    params.n_gpu_layers = options.gpu_layers
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 1.0) for path in options.adapters]
    params.lora_init_without_apply = True
    params.mmproj.path = options.mmproj
    _speculate(params, options)
    return params


def _speculate(params: xllamacpp.CommonParams, options: ChildOptions) -> None:
    """Tokens that a smaller model, or the text before, proposes are checked several at once."""
    kinds = xllamacpp.common_speculative_type
    if options.draft:
        params.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
        params.speculative.draft.mparams.path = options.draft
        params.speculative.draft.n_gpu_layers = options.gpu_layers
        params.speculative.draft.cpuparams.n_threads = options.threads
        params.speculative.draft.cpuparams_batch.n_threads = options.threads
    elif options.ngram:
        params.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_NGRAM_MOD]


def _wait_for_end_of_input() -> None:
    while sys.stdin.buffer.read(65536):
        pass
    os._exit(0)


def _die_with(parent: int) -> None:
    """Asks Linux to kill this process with its parent: loading holds the interpreter, and no thread runs then."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


if __name__ == "__main__":
    main()
