"""``matrix``: its checks, and the program that a solver runs. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from ._matrix_dsl import (
    DslError,
    Either,
    Expression,
    MatrixProgram,
    MatrixSet,
    ModelTerm,
    SetTerm,
    Together,
    parse,
    terms,
)
from ._natural_order import natural_order
from ._problem import Finding, Path, warning
from ._routing import Matrix

_VARIABLE = re.compile(r"[a-zA-Z0-9.-]{1,32}")
MAX_COMBINATIONS = 2_000
"""Partial answers kept while deciding whether models fit together, which has no fast answer in general."""


def compile_matrix(
    matrix: Matrix, models: Collection[str], path: Path, findings: list[Finding]
) -> MatrixProgram | None:
    """The program of *matrix*; ``None`` when something is wrong, which is then in *findings*.

    Args:
      path: where the matrix stands in the configuration.
    """
    found = list(_check_keys(matrix, models, path))
    expressions: dict[str, Expression] = {}
    for name, text in matrix.sets.items():
        where = (*path, "sets", name)
        try:
            expression = parse(text)
        except DslError as error:
            found.append(Finding(where, str(error)))
            continue
        found += _check_terms(expression, name, matrix, models, where)
        expressions[name] = _with_ids(expression, matrix.vars)
    order = _inclusion_order(expressions, path, found)
    findings += found
    if any(finding for finding in found if not _is_warning(finding)):
        return None
    costs = {
        matrix.vars.get(key, key): cost for key, cost in matrix.evict_costs.items() if key in matrix.vars
    }
    # A cost given to the model itself counts more than one given to a variable for it.
    costs |= {key: cost for key, cost in matrix.evict_costs.items() if key not in matrix.vars}
    return MatrixProgram(tuple(MatrixSet(n, matrix.sets[n], expressions[n]) for n in order), costs)


def _is_warning(finding: Finding) -> bool:
    return finding.severity.value == "warning"


def _check_keys(matrix: Matrix, models: Collection[str], path: Path) -> Iterator[Finding]:
    if not matrix.sets:
        yield Finding((*path, "sets"), "at least one set is needed")
    for name, model in matrix.vars.items():
        where = (*path, "vars", name)
        if not _VARIABLE.fullmatch(name):
            reason = "the name has 1 to 32 of the characters a-z A-Z 0-9 . -"
            yield Finding(where, reason)
        if model not in models:
            yield Finding(where, f"no model has the id {model!r}")
    costs: dict[str, tuple[str, int]] = {}
    for key, cost in matrix.evict_costs.items():
        where = (*path, "evict_costs", key)
        if cost <= 0:
            yield Finding(where, f"the cost must be more than 0, not {cost}")
        model = matrix.vars.get(key, key)
        if key not in matrix.vars and key not in models:
            yield Finding(where, f"{key!r} is neither a variable nor a model id")
        elif (before := costs.setdefault(model, (key, cost)))[1] != cost:
            yield warning(where, f"{model} has another cost under {before[0]}; the one under its id counts")


def _check_terms(
    expression: Expression, name: str, matrix: Matrix, models: Collection[str], where: Path
) -> Iterator[Finding]:
    for term in terms(expression):
        match term:
            case ModelTerm(word) if word not in matrix.vars and word not in models:
                yield Finding(where, f"{word!r} is neither a variable nor a model id")
            case SetTerm(word) if word not in matrix.sets:
                yield Finding(where, f"+{word} names no set")
            case _:
                pass


def _with_ids(expression: Expression, variables: Mapping[str, str]) -> Expression:
    match expression:
        case ModelTerm(word):
            return ModelTerm(variables.get(word, word))
        case Together(parts):
            return Together(tuple(_with_ids(part, variables) for part in parts))
        case Either(parts):
            return Either(tuple(_with_ids(part, variables) for part in parts))
        case SetTerm():
            return expression


def _inclusion_order(expressions: Mapping[str, Expression], path: Path, findings: list[Finding]) -> list[str]:
    """The sets in natural order, but each after those that it includes. Circles are reported once each."""
    order: dict[str, None] = {}
    for start in natural_order(expressions):
        open_sets: dict[str, Iterator[str]] = {}
        name: str | None = start
        while name is not None or open_sets:
            if name is not None and name not in order:
                if name in open_sets:
                    circle = [*list(open_sets)[list(open_sets).index(name) :], name]
                    where = (*path, "sets", name)
                    findings.append(Finding(where, f"circular reference {' -> '.join(circle)}"))
                    return list(order)
                open_sets[name] = _included(expressions, name)
            if not open_sets:
                break
            current = next(reversed(open_sets))
            name = next(open_sets[current], None)
            if name is None:
                del open_sets[current]
                order[current] = None
    return list(order)


def _included(expressions: Mapping[str, Expression], name: str) -> Iterator[str]:
    return (t.set for t in terms(expressions[name]) if isinstance(t, SetTerm) and t.set in expressions)


def fit_together(program: MatrixProgram, models: Collection[str]) -> bool | None:
    """Is there one alternative of one set with all of *models*? ``None``: it takes too long to find out.

    Alternatives are not listed. For every part of an expression only the largest sub-sets of *models* that
    one alternative of it covers are kept.
    """
    wanted = list(dict.fromkeys(models))
    bits = {model: 1 << at for at, model in enumerate(wanted)}
    everything = (1 << len(wanted)) - 1
    covered: dict[str, frozenset[int]] = {}
    try:
        for matrix_set in program.sets:
            covered[matrix_set.name] = _coverage(matrix_set.expression, bits, covered)
            if everything in covered[matrix_set.name]:
                return True
    except OverflowError:
        return None
    return False


def _coverage(
    expression: Expression, bits: Mapping[str, int], covered: Mapping[str, frozenset[int]]
) -> frozenset[int]:
    match expression:
        case ModelTerm(model):
            return frozenset({bits.get(model, 0)})
        case SetTerm(name):
            return covered[name]
        case Either(parts):
            return _largest(mask for part in parts for mask in _coverage(part, bits, covered))
        case Together(parts):
            masks = frozenset({0})
            for part in parts:
                more = _coverage(part, bits, covered)
                if len(masks) * len(more) > MAX_COMBINATIONS:
                    raise OverflowError
                masks = _largest(mask | other for mask in masks for other in more)
            return masks


def _largest(masks: Iterator[int]) -> frozenset[int]:
    kept: list[int] = []
    for mask in sorted(set(masks), key=int.bit_count, reverse=True):
        if not any(mask | other == other for other in kept):
            kept.append(mask)
            if len(kept) > MAX_COMBINATIONS:
                raise OverflowError
    return frozenset(kept)
