"""The OpenAPI document of the server, made of the route table. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from .openapi_descriptions import DESCRIBED, SCHEMAS, TEXT, Described, reference
from .routes import ANY, Route

_Json: TypeAlias = dict[str, Any]

_METHODS_OF_ANY = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_FORMS = ("/v1/audio/transcriptions", "/v1/images/edits")
_HEADERS: Mapping[str, _Json] = {
    "Deadline": {
        "name": "X-Swap-Deadline",
        "in": "header",
        "description": "Seconds that the request waits for its model at most.",
        "schema": {"type": "number", "exclusiveMinimum": 0},
    },
    "Priority": {
        "name": "X-Swap-Priority",
        "in": "header",
        "description": "Higher is served sooner; one step is worth 30 s of waiting.",
        "schema": {"type": "integer", "minimum": -100, "maximum": 100},
    },
}
_KEYS: Mapping[str, _Json] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "basic": {"type": "http", "scheme": "basic", "description": "The key is the password."},
    "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}


def openapi_document(routes: Iterable[Route], *, version: str, has_keys: bool) -> _Json:
    """Return the description of every route, after https://spec.openapis.org/oas/v3.1.1.html.

    Args:
      has_keys: API keys are configured.
    """
    paths: dict[str, _Json] = {}
    for route in routes:
        for method in _METHODS_OF_ANY if route.method == ANY else (route.method,):
            operation = _operation(route, method)
            if has_keys:
                operation["security"] = [{name: []} for name in _KEYS] if route.needs_key else []
            paths.setdefault(_path_of(route), {})[method.lower()] = operation
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "swapcli",
            "version": version,
            "description": "Model servers that start on demand and are swapped when they cannot run at once. "
            "HEAD works wherever GET does.",
        },
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "parameters": _HEADERS,
            "responses": {
                "Error": {
                    "description": "An error of this server, or of the model's.",
                    "content": {"application/json": {"schema": reference("Error")}},
                }
            },
            "securitySchemes": _KEYS,
        },
    }


def _path_of(route: Route) -> str:
    """The pattern as a template; there is no way to say that a part of it may hold slashes."""
    return route.pattern.replace("{rest...}", "{rest}")


def _operation(route: Route, method: str) -> _Json:
    described = DESCRIBED.get((route.method, route.pattern))
    if described is not None:
        operation = _of_ours(route, described)
    elif route.passthrough:
        operation = _passed_on(route)
    else:
        operation = _of_model(route)
    name = re.sub(r"\W+", "_", route.pattern.removeprefix("/")).strip("_") or "root"
    return {"operationId": f"{method.lower()}_{name}", **operation}


def _of_ours(route: Route, described: Described) -> _Json:
    parameters = [*_path_parameters(route, described.rest)]
    parameters += [
        {"name": query.name, "in": "query", "description": query.description, "schema": query.schema}
        for query in described.query
    ]
    operation: _Json = {
        "tags": [described.tag],
        "summary": described.summary,
        "parameters": parameters,
        "responses": {
            str(described.status): {
                "description": described.summary,
                "content": {described.media_type: {"schema": described.schema or TEXT}},
            },
            **_errors(),
        },
    }
    if described.body is not None:
        operation["requestBody"] = _body({"application/json": described.body})
    return operation


def _of_model(route: Route) -> _Json:
    operation: _Json = {
        "tags": ["inference"],
        "summary": f"Answered by the model, at {route.upstream_path}",
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in _HEADERS],
        "responses": {"200": _whatever("What the model answers."), **_errors()},
    }
    if route.method == "GET":
        name = {"name": "model", "in": "query", "required": True, "schema": TEXT}
        operation["parameters"].append(name)
    elif route.pattern in _FORMS:
        operation["requestBody"] = _body({"multipart/form-data": _asking()})
    else:
        operation["requestBody"] = _body({"application/json": _asking(stream={"type": "boolean"})})
    return operation


def _passed_on(route: Route) -> _Json:
    rest = "Id or alias of a model, and the path at its server."
    if route.passthrough == "comfyui":
        rest = "The path at the server of the model `comfyui_auto`."
    return {
        "tags": ["passthrough"],
        "summary": "Passed on to a model's server as it is, websockets included",
        "parameters": [*_path_parameters(route, rest)],
        "responses": {"default": _whatever("What the server answers, or a redirect to the right path.")},
    }


def _path_parameters(route: Route, rest: str) -> Iterator[_Json]:
    for name, description in (("rest", rest), ("id", "Decimal number.")):
        if f"{{{name}}}" in _path_of(route):
            yield {
                "name": name,
                "in": "path",
                "required": True,
                "description": description,
                "schema": TEXT,
            }


def _asking(**more: _Json) -> _Json:
    """The one thing that this server reads of a request; the rest is the model's business."""
    return {"type": "object", "properties": {"model": TEXT, **more}, "required": ["model"]}


def _body(content: Mapping[str, Any]) -> _Json:
    return {"required": True, "content": {kind: {"schema": schema} for kind, schema in content.items()}}


def _whatever(description: str) -> _Json:
    return {"description": description, "content": {"*/*": {}}}


def _errors() -> _Json:
    return {status: {"$ref": "#/components/responses/Error"} for status in ("4XX", "5XX")}
