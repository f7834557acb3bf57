"""From files to a `Configuration`: the whole pipeline, and every problem at its place."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import attrs

from ._check_models import (
    add_parameter_aliases,
    byte_order,
    check_model,
    collect_aliases,
    with_model_defaults,
)
from ._check_names import (
    check_peers,
    check_profiles,
    check_reserved_names,
    check_selectors,
    peer_table,
    with_preload,
)
from ._check_routing import with_router
from ._check_top import check_api_keys, check_top, with_top_defaults
from ._document import Document, read_document
from ._expand import expand
from ._ports import Ports
from ._problem import ConfigurationError, Finding, Path as KeyPath, Problem, Severity
from ._source import Source, find_sources, read
from ._store_path import store_fault
from ._structure import structure, unknown_keys
from ._top_level import Configuration

_NO_PORTS = Ports()
_ADDRESS = frozenset(("listen", "port", "host", "address"))
"""Keys that people expect at the top, where llama-swap has none of them."""


@attrs.frozen(eq=False)
class Loaded:
    """A configuration, and what the user should know about it."""

    config: Configuration
    warnings: tuple[Problem, ...]
    refusals: tuple[Problem, ...]
    """Reasons for which no server may be started with it, although llama-swap's loader takes the file."""
    document: Document
    """Where each value stands."""
    ports: Ports
    """What ``${PORT}`` was, for the next reading of the same sources."""

    def problem(self, path: KeyPath, message: str, severity: Severity = Severity.ERROR) -> Problem:
        """A problem at the value of *path*, for what only the server can find out."""
        return self.document.problem_of(Finding(path, message, severity))


def load(
    sources: Sequence[Path],
    *,
    environ: Mapping[str, str],
    ports: Ports = _NO_PORTS,
    strict: bool = False,
    windows: bool = os.name == "nt",
) -> Loaded:
    """Read *sources*, merge them in their order, and check the result.

    Args:
      sources: files; a directory stands for its ``.yml`` and ``.yaml`` files.
      environ: for ``${env.NAME}``.
      ports: of an earlier reading; models that are still there keep theirs.
      strict: unknown keys are errors instead of warnings.
      windows: which platform's defaults and checks hold.
    Raises:
      ConfigurationError: with everything that is wrong.
    """
    problems: list[Problem] = []
    texts: list[Source] = []
    for path in _files(sources, problems):
        match read(path):
            case Source() as source:
                texts.append(source)
            case Problem() as problem:
                problems.append(problem)
    if problems:
        raise ConfigurationError(problems)
    return load_sources(
        texts, environ=environ, ports=ports, strict=strict, windows=windows, store_fault=store_fault
    )


def _files(sources: Sequence[Path], problems: list[Problem]) -> list[Path]:
    files: list[Path] = []
    for path in sources:
        found = find_sources(None, path) if path.is_dir() else (path,)
        if isinstance(found, Problem):
            problems.append(found)
            continue
        for file in found:
            if file.absolute() in [known.absolute() for known in files]:
                problems.append(Problem(str(file), 0, 0, "", "is given twice, by itself and in a directory"))
            else:
                files.append(file)
    if not files and not problems:
        problems.append(Problem("", 0, 0, "", "no configuration file given"))
    return files


def load_sources(
    sources: Sequence[Source],
    *,
    environ: Mapping[str, str],
    ports: Ports = _NO_PORTS,
    strict: bool = False,
    windows: bool = os.name == "nt",
    store_fault: Callable[[str], str | None] = lambda path: None,
) -> Loaded:
    """`load` without reading anything: the same checks on texts already read.

    Args:
      store_fault: why ``store.path`` cannot be a file; the one thing that needs a look at the disk.
    """
    problems: list[Problem] = []
    document = read_document(sources, environ, problems)
    report = _Report(document, problems)
    expansion = expand(document.values, ports)
    report.add(expansion.findings)
    findings: list[Finding] = []
    config = structure(document.values, findings)
    report.add(findings)
    config = attrs.evolve(config, macros=expansion.macros)
    config = _checked(config, report, windows=windows, store_fault=store_fault)
    report.add_all(_unknown(document, strict=strict))
    files = {source.name: at for at, source in enumerate(sources)}
    problems.sort(key=lambda problem: (files[problem.file], problem.line, problem.column))
    warnings = tuple(problem for problem in problems if problem.severity is Severity.WARNING)
    reasons = tuple(problem for problem in problems if problem.severity is not Severity.WARNING)
    if any(problem.severity is Severity.ERROR for problem in reasons):
        raise ConfigurationError(reasons, warnings)
    return Loaded(config, warnings, reasons, document, expansion.ports)


class _Report:
    """Every problem so far, with a place for each.

    What one stage found is left out of a later one's findings, at the same value, in it and around it: those
    are echoes. A value of the wrong type is not missing as well.
    """

    def __init__(self, document: Document, problems: list[Problem]) -> None:
        self._document = document
        self._problems = problems
        self._settled: set[KeyPath] = set()
        self._around: set[KeyPath] = set()
        self._settle(problem.keys for problem in problems if problem.severity is Severity.ERROR)

    def _settle(self, paths: Iterable[KeyPath]) -> None:
        for path in paths:
            if path:
                self._settled.add(path)
                self._around.update(path[:end] for end in range(1, len(path)))

    def _is_echo(self, path: KeyPath) -> bool:
        return path in self._around or any(path[:end] in self._settled for end in range(1, len(path) + 1))

    def add(self, findings: Iterable[Finding]) -> None:
        """The findings of one stage."""
        self.add_all([finding for finding in findings if not self._is_echo(finding.path)])

    def add_all(self, findings: Iterable[Finding]) -> None:
        """Findings that are no echo of anything: that a key is unknown may be why its value is wrong."""
        new = list(findings)
        self._problems.extend(map(self._document.problem_of, new))
        self._settle(finding.path for finding in new if finding.severity is Severity.ERROR)


def _checked(
    config: Configuration, report: _Report, *, windows: bool, store_fault: Callable[[str], str | None]
) -> Configuration:
    """*config* with all that follows from something else filled in. The checks are in llama-swap's order."""
    report.add(check_top(config))
    config = with_top_defaults(config)
    if (
        config.store is not None
        and config.store.path.strip()
        and (fault := store_fault(config.store.path.strip()))
    ):
        report.add([Finding(("store", "path"), fault)])
    findings: list[Finding] = []
    aliases = collect_aliases(config.models, findings)
    for id in sorted(config.models, key=byte_order):
        findings += check_model(id, config.models[id])
    models = add_parameter_aliases(config.models, aliases, findings)
    config = attrs.evolve(config, models=models, aliases=aliases)
    config = attrs.evolve(config, models=with_model_defaults(config, windows=windows))
    config = with_router(config, findings)
    findings += check_api_keys(config)
    config = attrs.evolve(config, peer_models=peer_table(config.peers, findings))
    for check in (check_peers, check_reserved_names, check_selectors, check_profiles):
        findings += check(config)
    config = with_preload(config, findings)
    report.add(findings)
    return config


def _unknown(document: Document, *, strict: bool) -> Iterable[Finding]:
    severity = Severity.ERROR if strict else Severity.WARNING
    for path, known in unknown_keys(document.values):
        if len(path) == 1 and (str(path[0]).startswith("x-") or document.holds_anchors(path)):
            continue  # a place for things that are used elsewhere
        guess = suggestion(str(path[-1]), known)
        hint = f" (did you mean {guess}?)" if guess else ""
        if len(path) == 1 and path[0] in _ADDRESS:
            hint = " (the address to listen on is the option --listen)"
        yield Finding(path, f"unknown key{hint}", severity, at_key=True)


def suggestion(key: str, known: Iterable[str]) -> str | None:
    """The key that *key* was probably meant to be."""
    by_case = {name.lower().replace("_", ""): name for name in known}
    close = difflib.get_close_matches(key.lower().replace("_", "").replace("-", ""), by_case, n=1, cutoff=0.6)
    return by_case[close[0]] if close else None
