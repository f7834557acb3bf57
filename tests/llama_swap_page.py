"""What the script of llama-swap's page knows, from the events that a server sends it."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable
from typing import Any

import attrs
from served_models import Server


def ask(
    server: Server, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=20)
    data = None if body is None else json.dumps(body)
    content = {} if body is None else {"Content-Type": "application/json"}
    try:
        connection.request(method, path, data, {**content, **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def get(server: Server, path: str) -> Any:
    status, body = ask(server, "GET", path)
    assert status == 200, (path, body)
    return json.loads(body)


@attrs.define(eq=False)
class Page:
    """What it knows, and how it got to know it: `listen` is for a thread of its own."""

    server: Server
    logs: dict[str, str] = attrs.field(factory=lambda: {"proxy": "", "upstream": ""})
    models: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]])
    states_seen: list[tuple[str, str]] = attrs.field(factory=list[tuple[str, str]])
    session_headers: list[str] = attrs.field(factory=list[str])
    profile: str | None = "unknown"
    is_complete: bool = False
    """It has got all that it is told at first; the list of requests comes last."""
    requests: dict[str, dict[str, Any]] = attrs.field(factory=dict[str, dict[str, Any]])
    sessions_seen: set[str] = attrs.field(factory=set[str])
    removed: set[str] = attrs.field(factory=set[str])
    activity: list[int] = attrs.field(factory=list[int])
    _changed: threading.Condition = attrs.field(factory=threading.Condition)

    def listen(self, answer: http.client.HTTPResponse) -> None:
        """As `EventSource` reads: fields end at the first colon, one blank after it does not count."""
        name, data = "message", list[str]()
        try:
            for raw in answer:
                line = raw.decode().rstrip("\n")
                field, _, value = line.partition(":")
                value = value.removeprefix(" ")
                match field:
                    case "event":
                        name = value
                    case "data":
                        data.append(value)
                    case "":
                        if not line and data:
                            assert name == "message"
                            self._dispatch("\n".join(data))
                        name, data = "message", []
                    case other:
                        raise AssertionError(other)
        except (OSError, ValueError, http.client.HTTPException, AttributeError):
            pass  # the test closed it

    def _dispatch(self, data: str) -> None:
        message = json.loads(data)
        content = json.loads(message["data"])
        with self._changed:
            match message["type"]:
                case "logData":
                    self.logs[content["source"]] += content["data"]
                case "modelStatus":
                    self.models = content
                    self.states_seen += [(each["id"], each["state"]) for each in content]
                case "uiConfig":
                    self.session_headers = [name.lower() for name in content["activity"]["session_id"]]
                case "profileChanged":
                    self.profile = content["active"]
                case "inflight":
                    self._inflight(content)
                case "activity":
                    self.activity.append(content["id"])
                case _:
                    pass  # kinds of ours are not known there, and do no harm
            self._changed.notify_all()

    def _inflight(self, content: dict[str, Any]) -> None:
        match content["operation"]:
            case "snapshot":
                self.requests = {each["id"]: each for each in content.get("requests") or []}
                self.is_complete = True
            case "upsert":
                self.requests.setdefault(content["request"]["id"], {}).update(content["request"])
            case "remove":
                self.requests.pop(content["id"], None)
                self.removed.add(content["id"])
            case other:
                raise AssertionError(other)
        self.sessions_seen |= {self.session_of(each) for each in self.requests.values()} - {""}

    def session_of(self, request: dict[str, Any]) -> str:
        headers = {name.lower(): value for name, value in request["req_headers"].items()}
        return next((headers[name] for name in self.session_headers if headers.get(name)), "")

    def state(self, model: str) -> str:
        return next((each["state"] for each in self.models if each["id"] == model), "")

    def until(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, timeout=20), self
