"""A model server that answers as its requests say, for what no small real engine can do.

    python scripted_model.py NAME PORT FOLDER

Images, audio and tool calls in the shapes of OpenAI's and Anthropic's APIs; and a request for the model's
``/v1/…`` may carry a ``script``:

- ``{"die_after": n}``: the process ends after n events of its stream (in mid-answer, if it is not streamed);
  with a ``cue`` not before the file of that name exists;
- ``{"refuse": status, "times": n, "wait": seconds}``: the first n requests get that status and Retry-After;
- ``{"hold": seconds}``: think that long before the answer; with a ``cue`` only until that file exists.

One whose name begins with ``broken`` fails to start, one called ``recovering`` only for the first time. Every
request leaves a line of JSON in FOLDER/requests: the path, the seconds, and what files came with it.
"""

from __future__ import annotations

import base64
import email.parser
import email.policy
import hashlib
import http.server
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

PIXELS = bytes(range(256)) * 512
"""What every generated image is made of; what it is worth is to arrive unharmed."""
SOUND = hashlib.shake_256(b"speech").digest(1_000_003)

ARGUMENTS = '{"city": "Rome", "unit": "°C"}'


def _event(data: object, name: str = "") -> bytes:
    return (f"event: {name}\n" if name else "").encode() + f"data: {json.dumps(data)}\n\n".encode()


def openai_chat(asked: dict[str, Any]) -> dict[str, Any]:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ARGUMENTS}}
    message: dict[str, object] = {"role": "assistant", "content": None if asked.get("tools") else "scripted"}
    if asked.get("tools"):
        message["tool_calls"] = [call]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if asked.get("tools") else "stop"}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "scripted", "choices": [choice]}


def openai_chat_events(asked: dict[str, Any]) -> list[bytes]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    if asked.get("tools"):
        head = {"index": 0, "id": "call_1", "type": "function"}
        deltas.append({"tool_calls": [{**head, "function": {"name": "weather", "arguments": ""}}]})
        deltas += [
            {"tool_calls": [{"index": 0, "function": {"arguments": ARGUMENTS[start : start + 4]}}]}
            for start in range(0, len(ARGUMENTS), 4)
        ]
    else:
        deltas += [{"content": f"word{number} "} for number in range(8)]
    common = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "scripted"}
    events = [
        _event({**common, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        for delta in deltas
    ]
    return [*events, b"data: [DONE]\n\n"]


def anthropic_message(asked: dict[str, Any]) -> dict[str, Any]:
    tool = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": json.loads(ARGUMENTS)}
    content = [tool] if asked.get("tools") else [{"type": "text", "text": "scripted"}]
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "scripted",
        "content": content,
        "stop_reason": "tool_use" if asked.get("tools") else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 4},
    }


def anthropic_events(asked: dict[str, Any]) -> list[bytes]:
    message = {**anthropic_message(asked), "content": [], "stop_reason": None}
    block: dict[str, object] = {"type": "text", "text": ""}
    deltas = [{"type": "text_delta", "text": f"word{number} "} for number in range(8)]
    if asked.get("tools"):
        block = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
        deltas = [
            {"type": "input_json_delta", "partial_json": ARGUMENTS[start : start + 4]}
            for start in range(0, len(ARGUMENTS), 4)
        ]
    ending = {"delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 4}}
    parts: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", **ending},
        {"type": "message_stop"},
    ]
    return [_event(part, part["type"]) for part in parts]


def fields_of(content_type: str, body: bytes) -> dict[str, Any]:
    """Return the fields of a form; a file is its name, length and digest."""
    parser = email.parser.BytesParser(policy=email.policy.HTTP)
    form = parser.parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    found: dict[str, Any] = {}
    for part in form.iter_parts():
        name, file = (part.get_param(key, header="content-disposition") for key in ("name", "filename"))
        data = part.get_payload(decode=True)
        assert isinstance(data, bytes)
        found[str(name)] = (
            data.decode() if file is None else [file, len(data), hashlib.sha256(data).hexdigest()]
        )
    return found


class Model(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder = Path()

    def do_GET(self) -> None:
        self.answer(b"ok")

    def do_POST(self) -> None:
        body = self.read_body()
        content_type = self.headers["Content-Type"]
        is_form = content_type.startswith("multipart/")
        asked = fields_of(content_type, body) if is_form else json.loads(body)
        note = {"path": self.path, "at": time.monotonic()}
        note["files"] = {key: value for key, value in asked.items() if is_form and isinstance(value, list)}
        earlier = self.requests()
        with (self.folder / "requests").open("a") as log:
            log.write(json.dumps(note) + "\n")
        script = {} if is_form else asked.get("script", {})
        self.think(script)
        if "refuse" in script and earlier < script["times"]:
            self.refuse(script)
        elif asked.get("stream") is True:
            self.stream(asked, script)
        elif "die_after" in script:
            self.begin("application/json", "Content-Length", "1000")
            self.wfile.write(b"{")
            os._exit(3)
        else:
            self.answer_whole(asked)

    def think(self, script: dict[str, Any]) -> None:
        end = time.monotonic() + script.get("hold", 0)
        while time.monotonic() < end and not os.path.exists(script.get("cue", "")):
            time.sleep(0.01)  # a test's file sends no events

    def answer_whole(self, asked: dict[str, Any]) -> None:
        match self.path:
            case "/v1/audio/speech":
                self.begin("audio/mpeg", "Transfer-Encoding", "chunked")
                for start in range(0, len(SOUND), 10_007):
                    self.write_chunk(SOUND[start : start + 10_007])
                self.wfile.write(b"0\r\n\r\n")
            case "/v1/audio/transcriptions":
                self.answer_json({"text": json.dumps(asked, sort_keys=True)})
            case "/v1/images/generations":
                self.answer_json({"created": 1, "data": [{"b64_json": base64.b64encode(PIXELS).decode()}]})
            case "/v1/images/edits":
                self.answer_json(
                    {"created": 1, "data": [{"revised_prompt": json.dumps(asked, sort_keys=True)}]}
                )
            case "/v1/messages":
                self.answer_json(anthropic_message(asked))
            case _:
                self.answer_json(openai_chat(asked))

    def read_body(self) -> bytes:
        if self.headers["Transfer-Encoding"] != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"]))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def requests(self) -> int:
        try:
            return len((self.folder / "requests").read_text().splitlines())
        except FileNotFoundError:
            return 0

    def refuse(self, script: dict[str, Any]) -> None:
        body = b'{"error": {"message": "not now", "type": "rate_limit_error"}, "type": "error"}'
        self.send_response(script["refuse"])
        self.send_header("Content-Type", "application/json")
        self.send_header("Retry-After", str(script["wait"]))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, asked: dict[str, Any], script: dict[str, Any]) -> None:
        die_after: int | None = script.get("die_after")
        events = anthropic_events(asked) if self.path == "/v1/messages" else openai_chat_events(asked)
        self.begin("text/event-stream", "Transfer-Encoding", "chunked")
        for event in events[:die_after]:
            self.write_chunk(event)
        if die_after is not None:
            while "cue" in script and not os.path.exists(script["cue"]):
                time.sleep(0.01)  # a test's file sends no events; the test's client has a time limit
            os._exit(3)
        self.wfile.write(b"0\r\n\r\n")

    def answer_json(self, what: object) -> None:
        self.answer(json.dumps(what).encode(), "application/json")

    def answer(self, body: bytes, content_type: str = "text/plain") -> None:
        self.begin(content_type, "Content-Length", str(len(body)))
        self.wfile.write(body)

    def begin(self, content_type: str, name: str, value: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header(name, value)
        self.end_headers()

    def write_chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    name, port, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    started_before = folder / f"{name}-started"
    if name.startswith("broken") or (name == "recovering" and not started_before.exists()):
        started_before.write_text("")
        sys.exit("no such file: model.gguf")
    Model.folder = folder
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Model).serve_forever()


if __name__ == "__main__":
    main()
