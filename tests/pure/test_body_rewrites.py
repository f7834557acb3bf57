"""What of a request is changed for its target, and that nothing else is: rules H47, H48, H59 to H68."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, strategies as st
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder

from swapcli.config import ModelFilters
from swapcli.http.body_filter import BodyFilter, FilterFailed
from swapcli.http.model_name import Carrier, carrier_of, identify
from swapcli.http.model_rename import RenameFailed, renamed
from swapcli.http.multipart_fields import fields

MULTIPART = "multipart/form-data; boundary=XX"


def filtered(body: bytes, name: str = "m", *, model: str | None = None, **keys: Any) -> bytes:
    return b"".join(BodyFilter.of(ModelFilters(**keys)).apply(body, name, model))


def test_h59_order_of_the_edits() -> None:
    body = b'{"model":"alias","a":1,"b":1,"c":1,"d":1.0}'
    edited = filtered(
        body,
        "alias",
        model="sent",
        strip_params="b, a,a,,",
        set_params={"c": 2, "b": 2, "x": "set"},
        set_params_by_id={"alias": {"c": 3, "y": True}, "m": {"c": 4}},
    )
    assert edited == b'{"model":"sent","c":3,"d":1.0,"b":2,"x":"set","y":true}'


def test_h59_by_id_means_the_name_that_was_asked_for() -> None:
    by_id = {"alias": {"c": 3}}
    assert filtered(b'{"model":"m"}', "m", set_params_by_id=by_id) == b'{"model":"m"}'
    assert filtered(b'{"model":"m"}', "alias", set_params_by_id=by_id) == b'{"model":"m","c":3}'


def test_h60_the_model_is_neither_stripped_nor_set() -> None:
    keys: dict[str, Any] = {"strip_params": "model", "set_params": {"model": "x"}}
    assert filtered(b'{"model":"m"}', **keys) == b'{"model":"m"}'


def test_h60_keys_are_set_in_byte_order() -> None:
    assert (
        filtered(b"{}", set_params={"b": 1, "a": 1, "B": 1, "é": 1}) == '{"B":1,"a":1,"b":1,"é":1}'.encode()
    )


@pytest.mark.parametrize("body", [b"", b" \n", b"[1]", b'"text"', b"5", b"nonsense"])
def test_h58_what_has_no_parameters_gets_none(body: bytes) -> None:
    assert filtered(body, model="x", set_params={"a": 1}) == body


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"strip_params": "a*"}, "error stripping parameter a* from request"),
        ({"set_params": {"a.b": 1}}, "error setting parameter a.b in request"),
        ({"set_params": {"n": {1: "no text"}}}, "error setting parameter n in request"),
        ({"set_params": {"n": float("nan")}}, "error setting parameter n in request"),
    ],
)
def test_h65_failures(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(FilterFailed, match=message.replace("*", r"\*")):
        filtered(b'{"model":"m","a":[1]}', **keys)


def test_all_else_stays_byte_for_byte() -> None:
    body = b'\n{ "n" : 1.0e+2 , "model":"m", "s":"\\u00e9\\/", "d":1, "d":2,"x":[ 1 , {} ] } junk'
    edited = filtered(body, set_params={"t": 1}, model="o")
    assert edited == body.replace(b'"m"', b'"o"').replace(b" } junk", b' ,"t":1} junk')


def test_pieces_refer_to_a_large_body() -> None:
    body = b'{"model":"m","image":"' + b"A" * 1_000_000 + b'"}'
    pieces = BodyFilter.of(ModelFilters(set_params={"a": 1})).apply(body, "m", "other")
    assert sum(len(piece) for piece in pieces if not isinstance(piece, memoryview)) < 100


# -- names ---------------------------------------------------------------------------------


def rename(
    carrier: Carrier, query: bytes = b"", body: bytes = b"", content_type: str = ""
) -> tuple[bytes, bytes]:
    query, pieces = renamed(carrier, "m1:high", query=query, content_type=content_type, body=body)
    return query, b"".join(pieces)


def test_h47_a_query_is_encoded_anew_and_sorted() -> None:
    assert rename(Carrier.QUERY, b"z=1&model=pin&a=2%20b&z=0;1&model=x&b=%FF") == (
        b"a=2+b&b=%FF&model=m1%3Ahigh&z=1",
        b"",
    )


def test_h47_a_form_is_encoded_anew_and_sorted() -> None:
    assert rename(Carrier.FORM, b"q=%zz", b"z=a/b&model=pin&a=1") == (
        b"q=%zz",
        b"a=1&model=m1%3Ahigh&z=a%2Fb",
    )


def test_h48_h221_the_name_is_replaced_where_it_was_found() -> None:
    assert rename(Carrier.FORM, b"model=pin&b=2", b"a=1") == (b"b=2&model=m1%3Ahigh", b"a=1")
    assert rename(Carrier.QUERY, b"model=pin", b"any \xff body") == (b"model=m1%3Ahigh", b"any \xff body")
    for carrier, query, body in ((Carrier.FORM, b"model=q", b"model=b"), (Carrier.FORM, b"model=q", b"")):
        query, body = rename(carrier, query, body)
        form = "application/x-www-form-urlencoded"
        assert identify("POST", query, form, body).model == "m1:high"


FILE = b"\x00\r\n--X\r\n--XXY\xff" * 50
FORM = (
    b"preamble\r\n"
    b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n'
    b"X-Own: 1\r\n\r\n" + FILE + b"\r\n"
    b'--XX  \r\ncontent-disposition: form-data; name="model"\r\n\r\npin\r\n'
    b'--XX\r\nContent-Disposition: form-data; name="empty"\r\n\r\n\r\n'
    b"--XX\r\nContent-Type: text/plain\r\nContent-Disposition: form-data; name=model\r\n\r\nsecond\r\n"
    b'--XX\r\nContent-Disposition: form-data; name="model"; filename="model.txt"\r\n\r\nfile\r\n'
    b"--XX--\r\nepilogue"
)


def test_h47_h224_in_a_multipart_form_only_the_values_change() -> None:
    query, body = rename(Carrier.MULTIPART, b"a=%20", FORM, MULTIPART)
    assert query == b"a=%20"
    assert body == FORM.replace(b"\r\npin\r\n", b"\r\nm1:high\r\n").replace(
        b"\r\nsecond\r\n", b"\r\nm1:high\r\n"
    )
    assert identify("POST", b"", MULTIPART, body).model == "m1:high"


def test_files_are_referred_to_and_not_copied() -> None:
    _, pieces = renamed(Carrier.MULTIPART, "x", query=b"", content_type=MULTIPART, body=FORM)
    assert sum(len(piece) for piece in pieces if not isinstance(piece, memoryview)) == 2
    assert all(piece.obj is FORM for piece in pieces if isinstance(piece, memoryview))


def test_line_feeds_alone_are_understood() -> None:
    _, body = rename(Carrier.MULTIPART, b"", FORM.replace(FILE, b"").replace(b"\r\n", b"\n"), MULTIPART)
    assert body.count(b"m1:high") == 2


def test_a_name_that_would_end_the_field_is_refused() -> None:
    with pytest.raises(RenameFailed):
        renamed(Carrier.MULTIPART, "a\r\n--XX--", query=b"", content_type=MULTIPART, body=FORM)


@pytest.mark.parametrize(
    ("method", "content_type", "carrier"),
    [
        ("GET", "application/json", Carrier.QUERY),
        ("HEAD", "application/json", Carrier.JSON),
        ("POST", MULTIPART, Carrier.MULTIPART),
        ("POST", "Application/X-WWW-form-urlencoded; a=b", Carrier.FORM),
        ("POST", "text/plain", Carrier.QUERY),
    ],
)
def test_h32_carriers(method: str, content_type: str, carrier: Carrier) -> None:
    assert carrier_of(method, content_type) is carrier


VALUES = st.binary(max_size=12) | st.sampled_from([b"\r\n", b"a--XX\r\n", b"\r\n--X", b"\r\n--XXY\r\n"])
PARTS = st.lists(
    st.tuples(
        st.sampled_from(["model", "a", "file name"]),
        st.sampled_from(["", "x.wav"]),
        # A boundary at its beginning is one; the library takes a CR or LF alone for a line break, too.
        VALUES.filter(lambda value: not re.search(rb"(\A|[\r\n])--XX(?!Y)", value)),
    ),
    min_size=1,
    max_size=5,
)


@given(PARTS, st.sampled_from(["", "Content-Type: text/plain; charset=utf-8\r\n"]))
def test_fields_are_those_that_a_library_finds(parts: list[tuple[str, str, bytes]], header: str) -> None:
    body = b"".join(
        f'--XX\r\n{header}Content-Disposition: form-data; name="{name}"'.encode()
        + (f'; filename="{file}"'.encode() if file else b"")
        + b"\r\n\r\n"
        + value
        + b"\r\n"
        for name, file, value in parts
    )
    body += b"--XX--\r\n"
    found = fields(MULTIPART, body)
    assert found is not None
    mine = [(field.name, body[field.start : field.end]) for field in found]
    assert mine == [(name, value) for name, file, value in parts if not file]
    assert mine == fields_by_library(body)


def fields_by_library(body: bytes) -> list[tuple[str, bytes]]:
    decoder, found, is_field = MultipartDecoder(b"XX"), list[tuple[str, bytes]](), False
    decoder.receive_data(body)
    decoder.receive_data(None)
    while not isinstance(event := decoder.next_event(), Epilogue):
        match event:
            case Field(name=name):
                found.append((name, b""))
                is_field = True
            case File():
                is_field = False
            case Data(data=data) if is_field:
                found[-1] = (found[-1][0], found[-1][1] + data)
            case _:
                pass
    return found


def test_a_part_may_end_with_its_head() -> None:
    """RFC 2046, section 5.1.1: the empty line is part of a body, and a body need not be there."""
    head = b'--XX\r\nContent-Disposition: form-data; name="'
    body = head + b'a"\r\n\r\n' + head + b'b"\r\n\r\nvalue\r\n--XX--'
    found = fields(MULTIPART, body)
    assert found is not None
    assert [(field.name, body[field.start : field.end]) for field in found] == [("a", b""), ("b", b"value")]


@given(st.binary(max_size=80) | st.text(alphabet='-X\r\n:; ="model', max_size=60).map(str.encode))
def test_any_form_is_taken(body: bytes) -> None:
    for field in fields(MULTIPART, b"--XX\r\n" + body) or ():
        assert 0 <= field.start <= field.end <= len(body) + 6
