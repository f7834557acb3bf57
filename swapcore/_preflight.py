"""Look for what would make a start fail for certain, before anything is stopped or started for it."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from itertools import pairwise

from ._environment import environment_of
from ._errors import StartFailed
from ._health import addresses_of
from ._spec import Endpoint, ModelSpec

# llama-server's flags that take a file. Those of other programs may take a name.
_LLAMA_FILE_FLAGS = frozenset(("-m", "--model", "-mm", "--mmproj", "-md", "--model-draft", "--lora"))
_SCRIPTS = (".sh", ".py", ".bat", ".cmd")
# They run a program on this machine. Behind others, such as docker, its files are those of another one.
_WRAPPERS = frozenset(
    ("chrt", "env", "ionice", "nice", "nohup", "numactl", "setsid", "stdbuf", "swapcli", "taskset", "time")
)


def preflight(spec: ModelSpec, *, check_port: bool = True) -> None:
    """Look for what would make a start fail for certain, without starting anything. Takes well under 1 ms.

    Args:
      check_port: also require that nobody listens at the URL's port. Leave it out
        while a model that is to be stopped first listens there.
    Raises:
      StartFailed: no command or no usable URL; the program or the working
        directory is not there; the port is taken.
    """
    if problem := _problem_before_start(spec, check_port):
        raise StartFailed(spec.id, problem)


def _problem_before_start(spec: ModelSpec, check_port: bool) -> str | None:
    if not spec.url:
        return "it has no URL"
    if not spec.command or not spec.command[0]:
        return "it has no command"
    try:
        endpoint = Endpoint(spec.url)
    except ValueError as error:
        return f"its URL cannot be used: {error}"
    if endpoint.scheme not in ("http", "https"):
        return f"its URL cannot be used: {spec.url!r} is neither http nor https"
    if any("\0" in word for word in (*spec.command, *spec.env, *spec.env.values())):
        return "its command or environment has a zero byte"
    if spec.cwd is not None and not os.path.isdir(spec.cwd):
        return f"its working directory {spec.cwd!r} does not exist"
    if problem := _problem_with_program(spec) or _problem_with_files(spec):
        return problem
    if check_port and is_port_taken(endpoint):
        return f"port {endpoint.port} of {endpoint.host} is used by another process"
    return None


def _problem_with_program(spec: ModelSpec) -> str | None:
    program = spec.command[0]
    if os.path.dirname(program):  # as exec does: relative to the working directory it will have
        path = os.path.join(spec.cwd or "", program)
        if shutil.which(path) is not None:
            return None
        if not os.path.exists(path):
            return f"program {program!r} does not exist"
        return f"program {program!r} is not an executable file"
    if shutil.which(program, path=environment_of(spec).get("PATH", os.defpath)) is None:
        return f"program {program!r} was not found in PATH"
    return None


def _problem_with_files(spec: ModelSpec) -> str | None:
    place = next((at for at, word in enumerate(spec.command) if _is_llama_server(word)), None)
    if place is None or (place and os.path.basename(spec.command[0]) not in _WRAPPERS):
        return None
    for flag, value in pairwise(spec.command[place:]):
        if flag not in _LLAMA_FILE_FLAGS or (place and not os.path.isabs(value)):
            continue  # a wrapper may change the directory
        if not os.path.exists(os.path.join(spec.cwd or "", value)):
            return f"file {value!r}, which its command names, does not exist"
    return None


def _is_llama_server(word: str) -> bool:
    name = os.path.basename(word)
    return name.startswith("llama-server") and not name.endswith(_SCRIPTS)


def is_port_taken(endpoint: Endpoint) -> bool:
    """Tell whether somebody holds the endpoint's port. False for a name, and for a host that is not this one.

    Tries to bind it, for an instant; nobody is connected to.
    """
    for host in addresses_of(endpoint):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                if os.name == "posix":  # connections of an earlier run that are still closing do not count
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, endpoint.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
    return False


def is_same_port(one: ModelSpec, other: ModelSpec) -> bool:
    try:
        return Endpoint(one.url).port == Endpoint(other.url).port
    except ValueError:
        return False
