"""Which model a name means: profiles, aliases, and what of it the model's process sees."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from http_wire import JSON, PATIENCE, Rig, always, plain, rig, upstream

from swapcli.config import Configuration, ModelConfig, ModelFilters, PeerConfig, Profile, Selector
from swapcli.http.active_profile import ActiveProfile
from swapcli.http.profile_pins import pinned_path
from swapcore import ProcState

FORM = "Content-Type: application/x-www-form-urlencoded"
MULTIPART = "Content-Type: multipart/form-data; boundary=XX"


def configuration(**keys: Any) -> Configuration:
    keys.setdefault("models", {"m": ModelConfig(), "m2": ModelConfig()})
    aliases = {alias: id for id, model in keys["models"].items() for alias in model.aliases}
    return Configuration(aliases=aliases, **keys)


async def activate(served: Rig, name: str | None) -> None:
    reply = await served.ask("PUT", "/api/profiles/active", body=json.dumps({"name": name}).encode())
    assert (reply.status, json.loads(reply.body)) == (200, {"active": name})


WORK = Profile("For work.", {"gpt": "m2", "m": "m2", "off": "", "team": "both", "m2": "nowhere"})
PROFILES = {
    "profiles": {"work": WORK, "Home": Profile(pins={"z": "m", "a": ""})},
    "selectors": {"both": Selector("pin", ("m",))},
}


# -- requests ---------------------------------------------------------------------------------


@pytest.mark.rule("C118")
@pytest.mark.rule("L130")
async def test_h43_h44_pins_hold_while_their_profile_is_active() -> None:
    async with upstream(always(plain(b"1"))) as one, upstream(always(plain(b"2"))) as two:
        async with rig(one.endpoint, two.endpoint, config=configuration(**PROFILES)) as served:
            assert (await served.chat(b'{"model":"gpt"}')).status == 404
            assert (await served.chat(b'{"model":"m"}')).body == b"1"
            await activate(served, "work")
            assert (await served.chat(b'{ "x":1.0, "model" : "gpt" }')).body == b"2"
            assert two.seen[-1].body == b'{ "x":1.0, "model" : "m2" }'
            assert (await served.chat(b'{"model":"m"}')).body == b"2"  # over the id of the same name
            assert (await served.chat(b'{"model":"team"}')).body == b"1"  # by way of a selector
            assert one.seen[-1].body == b'{"model":"m"}'  # pins are not followed further
            await activate(served, None)
            assert (await served.chat(b'{"model":"m"}')).body == b"1"


@pytest.mark.rule("L131")
async def test_h45_an_empty_pin_turns_a_name_off() -> None:
    async with upstream(always(plain(b"1"))) as one:
        config = configuration(profiles={"p": Profile(pins={"m": ""})})
        async with rig(one.endpoint, config=config) as served:
            await activate(served, "p")
            reply = await served.chat()
    assert reply.status == 404
    assert json.loads(reply.body)["error"]["message"] == "no model id could be identified"
    assert one.seen == []


async def test_h47_a_query_follows_the_pin() -> None:
    config = configuration(
        models={"m1:high": ModelConfig()}, profiles={"p": Profile(pins={"pin": "m1:high"})}
    )
    async with upstream(always(plain(b"1"))) as one, rig(one.endpoint, config=config) as served:
        await activate(served, "p")
        assert (await served.ask("GET", "/props?z=1&model=pin&a=2%20b")).status == 200
    assert one.seen[0].line == "GET /props?a=2+b&model=m1%3Ahigh&z=1 HTTP/1.1"
    assert "content-length" not in one.seen[0]


@pytest.mark.parametrize(
    ("content_type", "query", "body", "sent_query", "sent_body"),
    [
        (FORM, "", b"b=1&model=gpt&a=x%20y", "", b"a=x+y&b=1&model=m2"),
        (FORM, "?model=gpt&b=1", b"a=1", "?b=1&model=m2", b"a=1"),
        ("Content-Type: text/plain", "?model=gpt", b"as it is;", "?model=m2", b"as it is;"),
        (MULTIPART, "", b'--XX\r\nContent-Disposition: form-data; name="model"\r\n\r\ngpt\r\n--XX--\r\n', "",
         b'--XX\r\nContent-Disposition: form-data; name="model"\r\n\r\nm2\r\n--XX--\r\n'),
    ],
)  # fmt: skip
async def test_h47_h48_h221_other_bodies_follow_the_pin(
    content_type: str, query: str, body: bytes, sent_query: str, sent_body: bytes
) -> None:
    async with upstream(always(plain(b"1"))) as one, upstream(always(plain(b"2"))) as two:
        async with rig(one.endpoint, two.endpoint, config=configuration(**PROFILES)) as served:
            await activate(served, "work")
            reply = await served.ask("POST", "/v1/images/edits" + query, content_type, body=body)
    assert reply.body == b"2"
    assert two.seen[0].line == f"POST /v1/images/edits{sent_query} HTTP/1.1"
    assert two.seen[0].body == sent_body
    assert two.seen[0]["content-length"] == str(len(sent_body))


@pytest.mark.parametrize(
    ("rest", "meant"),
    [
        ("pin", "org/m"),
        ("pin/", "org/m/"),
        ("pin/a%2Fb%20c", "org/m/a%2Fb%20c"),
        ("p%69n%2Fx", "org/m%2Fx"),
        ("pin/long/x", "other%20one/x"),
        ("pin%2Flong/x", "other%20one/x"),
        ("pinned/x", "pinned/x"),
        ("off/x", ""),
        ("", ""),
    ],
)
@pytest.mark.rule("L132")
def test_h46_pins_at_the_beginning_of_a_path(rest: str, meant: str) -> None:
    pins = {"pin": "org/m", "pin/long": "other one", "off": ""}
    assert pinned_path(pins, rest) == meant


# -- the endpoints ------------------------------------------------------------------------------


async def test_h139_the_list_of_profiles() -> None:
    async with rig(config=configuration(**PROFILES)) as served:
        reply = await served.ask("GET", "/api/profiles")
        assert reply.body == (
            b'{"active":null,"profiles":[{"id":"Home","description":"","pins":{"a":"","z":"m"}},'
            b'{"id":"work","description":"For work.","pins":'
            b'{"gpt":"m2","m":"m2","m2":"nowhere","off":"","team":"both"}}]}\n'
        )
        await activate(served, "Home")
        assert json.loads((await served.ask("GET", "/api/profiles")).body)["active"] == "Home"
    async with rig(config=configuration()) as served:
        assert (await served.ask("GET", "/api/profiles")).body == b'{"active":null,"profiles":[]}\n'


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, "invalid profile request"),
        (b"work", 400, "invalid profile request"),
        (b"[]", 400, "invalid profile request"),
        (b'"work"', 400, "invalid profile request"),
        (b"{", 400, "invalid profile request"),
        (b"null", 400, "profile name is required"),
        (b"{}", 400, "profile name is required"),
        (b'{"name":1}', 400, "profile name must be a string or null"),
        (b'{"name":"no \\"such\\""}', 404, 'profile "no \\"such\\"" not found'),
        (
            '{"name":"é\\n\\u0001\\u2028\\ud83d\\ude00"}'.encode(),
            404,
            'profile "é\\n\\x01\\u2028\U0001f600" not found',
        ),
        (b'{"name":"\\ud800\\udb40\\udc01"}', 404, 'profile "\ufffd\\U000e0001" not found'),
    ],
)
async def test_h140_what_is_no_selection_changes_nothing(body: bytes, status: int, message: str) -> None:
    async with rig(config=configuration(**PROFILES)) as served:
        await activate(served, "work")
        reply = await served.ask("PUT", "/api/profiles/active", body=body)
        assert (reply.status, json.loads(reply.body)["error"]["message"]) == (status, message)
        assert json.loads((await served.ask("GET", "/api/profiles")).body)["active"] == "work"


@pytest.mark.parametrize("body", [b'{"name":null}', b'{"name":""} and so on', b' {"name":"","x":1}'])
async def test_h140_no_profile(body: bytes) -> None:
    async with rig(config=configuration(**PROFILES)) as served:
        await activate(served, "work")
        reply = await served.ask("PUT", "/api/profiles/active", "Content-Type: text/x", body=body)
        assert (reply.status, reply.body) == (200, b'{"active":null}\n')


def test_h141_only_a_change_is_told() -> None:
    profile, told = ActiveProfile(), list[str | None]()
    profile.subscribe(told.append)
    for name in (None, "a", "a", "b", None):
        profile.select(name)
    assert told == ["a", "b", None]


def test_a_profile_that_another_configuration_lacks_is_left() -> None:
    profile, told = ActiveProfile(), list[str | None]()
    profile.subscribe(told.append)
    profile.select("a")
    profile.keep_if_in({"a": 1})
    assert (profile.name, told) == ("a", ["a"])
    profile.keep_if_in({"b": 1})
    assert (profile.name, told) == (None, ["a", None])


# -- aliases and filters --------------------------------------------------------------------------


FILTERED = ModelConfig(
    aliases=("alias", "m:high"),
    use_model_name="own-name",
    filters=ModelFilters(
        strip_params="top_p, model",
        set_params={"temperature": 0.7, "options.stop": ["<end>"]},
        set_params_by_id={"m:high": {"effort": "high", "temperature": 1}},
    ),
)


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("m", b'"temperature":0.7}'),
        ("alias", b'"temperature":0.7}'),
        ("m:high", b'"temperature":1,"effort":"high"}'),
    ],
)
async def test_h39_h59_names_and_filters(name: str, sent: bytes) -> None:
    config = configuration(models={"m": FILTERED})
    async with upstream(always(plain(b"1"))) as one, rig(one.endpoint, config=config) as served:
        assert (await served.chat(b'{"model":"%b","top_p":1,"n":1.50}' % name.encode())).status == 200
    body = b'{"model":"own-name","n":1.50,"options":{"stop":["\\u003cend\\u003e"]},' + sent
    assert one.seen[0].body == body
    assert one.seen[0]["content-length"] == str(len(body))


async def test_h37_an_unfiltered_body_is_not_touched() -> None:
    body = b'\n { "model" : "m", "a":1e3, "a": 2 ,"s":"\\u00e9" } junk'
    config = configuration(models={"m": ModelConfig(filters=FILTERED.filters), "m2": ModelConfig()})
    async with upstream(always(plain(b"1"))) as one, upstream(always(plain(b"2"))) as two:
        async with rig(one.endpoint, two.endpoint, config=config) as served:
            assert (await served.chat(body.replace(b'"m"', b'"m2"'))).body == b"2"
    assert two.seen[0].body == body.replace(b'"m"', b'"m2"')


async def test_h65_a_filter_that_fails_loads_nothing() -> None:
    config = configuration(models={"m": ModelConfig(filters=ModelFilters(set_params={"messages.x": 1}))})
    async with upstream(always(plain(b"1"))) as one, rig(one.endpoint, config=config) as served:
        reply = await served.chat(b'{"model":"m","messages":[]}')
        assert served.fleet.leases == []
    assert reply.status == 500
    assert json.loads(reply.body)["error"]["message"] == "error setting parameter messages.x in request"


async def test_h58_h224_a_get_without_a_body_does_not_grow_one() -> None:
    config = configuration(models={"m": FILTERED})
    async with upstream(always(plain(b"1"))) as one, rig(one.endpoint, config=config) as served:
        assert (await served.ask("GET", "/props?model=m", JSON)).status == 200
    assert (one.seen[0].line, one.seen[0].body) == ("GET /props?model=m HTTP/1.1", b"")


async def test_h67_a_multipart_form_gets_the_own_name_and_no_filter() -> None:
    form = b'--XX\r\nContent-Disposition: form-data; name="model"\r\n\r\nalias\r\n--XX--\r\n'
    config = configuration(models={"m": FILTERED})
    async with upstream(always(plain(b"1"))) as one, rig(one.endpoint, config=config) as served:
        assert (await served.ask("POST", "/v1/audio/transcriptions", MULTIPART, body=form)).status == 200
    assert one.seen[0].body == form.replace(b"alias", b"own-name")
    assert one.seen[0]["content-type"] == "multipart/form-data; boundary=XX"


async def test_h68_forms_and_queries_keep_the_name_that_was_asked_for() -> None:
    config = configuration(models={"m": FILTERED})
    async with upstream(always(plain(b"1"))) as one, rig(one.endpoint, config=config) as served:
        assert (await served.ask("POST", "/v1/images/edits", FORM, body=b"z=1&model=alias")).status == 200
        assert (await served.ask("GET", "/props?z=1&model=alias")).status == 200
    assert one.seen[0].body == b"z=1&model=alias"
    assert one.seen[1].line == "GET /props?z=1&model=alias HTTP/1.1"


async def test_a_large_body_is_edited_beside_the_loop() -> None:
    config = configuration(models={"m": FILTERED})
    body = b'{"image":"' + b"A" * 3_000_000 + b'","model":"m"}'
    async with upstream(always(plain(b"1"))) as one, rig(one.endpoint, config=config) as served:
        with trio.fail_after(PATIENCE):
            assert (await served.chat(body)).status == 200
    sent = one.seen[0].body
    assert sent.startswith(body[:-4])
    assert json.loads(sent)["model"] == "own-name"
    assert one.seen[0]["content-length"] == str(len(sent))


# -- the listing ---------------------------------------------------------------------------------------


@pytest.mark.rule("H126", "H127")
async def test_h124_to_h128_the_list_has_every_name() -> None:
    config = configuration(
        peers={"far": PeerConfig("http://127.0.0.1:9", ("x", "org/y"))},
        peer_models={name: ("far", name.removeprefix("far/")) for name in ("far/x", "far/org/y", "x")},
        selectors={
            "first": Selector("pin", ("m", "m2"), name=" First ", metadata={"k": 1, "context_length": 5}),
            "spread": Selector("spillover", ("m2", "far/x")),
            "hidden": Selector("pin", ("m",), unlisted=True),
        },
        profiles={"p": Profile(pins={"off": "", **dict.fromkeys(("new", "m", "x", "first", "hidden"), "m")})},
    )  # fmt: skip
    async with rig(config=config) as served:
        await activate(served, "p")
        served.fleet.states["m2"] = ProcState.STARTING
        records = json.loads((await served.ask("GET", "/v1/models")).body)["data"]
        await activate(served, None)
        names = [each["id"] for each in json.loads((await served.ask("GET", "/v1/models")).body)["data"]]
    by_id = {record.pop("id"): record for record in records}
    assert list(by_id) == ["far/org/y", "far/x", "first", "m", "m2", "new", "spread"]
    assert names == ["far/org/y", "far/x", "first", "m", "m2", "spread"]
    for record in records:
        assert record.pop("created") > 0
        assert (record.pop("object"), record.pop("owned_by")) == ("model", "swapcli")
    assert by_id["far/x"] == {
        "name": "far: x", "meta": {"llamaswap": {"peerID": "far", "type": "peer"}},
        "status": {"value": "unloaded"},
    }  # fmt: skip
    assert by_id["first"] == {
        "name": "First",
        "meta": {
            "llamaswap": {
                "context_length": 5, "k": 1, "strategy": "pin", "targets": ["m", "m2"], "type": "selector",
            }
        },
        "status": {"value": "unloaded"},
    }  # fmt: skip
    assert by_id["spread"]["meta"]["llamaswap"] == {
        "spillover": 1, "strategy": "spillover", "targets": ["m2", "far/x"], "type": "selector",
    }  # fmt: skip
    assert by_id["spread"]["status"] == {"value": "loaded"}
    assert by_id["new"] == {
        "meta": {"llamaswap": {"type": "profile"}}, "status": {"value": "unloaded"},
    }  # fmt: skip
