"""Selectors: what is chosen (pure), and what a request sees of it: rules H49 to H56, L122 to L129, G33."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import attrs
import pytest
import trio
from http_wire import PATIENCE, Answer, Rig, Seen, always, plain, request, rig, upstream
from hypothesis import given, strategies as st

from swapcli.config import (
    Configuration,
    ModelConfig,
    ModelFilters,
    PeerConfig,
    Profile,
    Selector,
    SelectorSettings,
)
from swapcli.http.destinations import Local, Target
from swapcli.http.selector_choice import Candidate, Readiness, choose_spillover, choose_warm
from swapcore import ModelId, Overloaded, ProcState, StartFailed

R, S, C, U = Readiness.READY, Readiness.STARTING, Readiness.COLD, Readiness.UNAVAILABLE


def candidates(*given: tuple[Any, ...]) -> list[Candidate]:
    """Called ``a``, ``b``, …; each is its readiness, load, and limits."""
    return [
        Candidate(Target(name, Local(ModelId(name))), *each)
        for name, each in zip("abcdef", given, strict=False)
    ]


def chosen(*given: tuple[Any, ...], threshold: int = 1, turn: int = 0) -> str:
    choice = choose_spillover(candidates(*given), threshold, lambda of: turn % of)
    return "" if choice is None else choice.target.name


# -- the choice ---------------------------------------------------------------------------------


@pytest.mark.rule("C116")
@pytest.mark.parametrize(
    ("given", "name"),
    [
        ([(C,), (S,), (R,), (R,)], "c"),
        ([(C,), (U,), (S,), (S,)], "c"),
        ([(U,), (C,)], "a"),
    ],
)
def test_h52_warm(given: list[tuple[Any, ...]], name: str) -> None:
    assert choose_warm(candidates(*given)).target.name == name


@pytest.mark.rule("C116")
@pytest.mark.parametrize(
    ("given", "name"),
    [
        ([(C,), (C,)], "a"),
        ([(R, 0), (C,)], "a"),
        ([(C,), (R, 0)], "b"),
        ([(R, 1), (C,), (C,)], "b"),
        ([(R, 1), (S, 1), (C,)], "c"),
        ([(R, 2), (R, 1)], "b"),
        ([(U,), (C,)], "b"),
        ([(U,), (U,)], ""),
        ([], ""),
    ],
)
@pytest.mark.rule("L126")
@pytest.mark.rule("L127")
def test_h54_spillover(given: list[tuple[Any, ...]], name: str) -> None:
    assert chosen(*given) == name


def test_h54_the_threshold() -> None:
    assert [chosen((R, load), (C,), threshold=3) for load in (0, 2, 3)] == ["a", "a", "b"]


def test_h54_equals_take_turns_in_their_order() -> None:
    given = [(R, 2), (R, 1), (R, 1), (R, 1)]
    assert [chosen(*given, turn=turn) for turn in range(4)] == ["b", "c", "d", "b"]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ([(S, 0), (R, 0)], "b"),
        ([(S, 1), (R, 1)], "b"),
        ([(R, 3), (S, 1)], "a"),  # rather than to wait
        ([(R, 3), (S, 0), (C,)], "a"),  # a start is under way already
        ([(R, 4, 4, 9), (S, 0)], "b"),
        ([(R, 4, 4, 9), (S, 1)], "b"),
        ([(R, 4, 4, 9), (S, 4, 4, 9)], "a"),
        ([(R, 9, 4, 9), (S, 4, 4, 9)], "b"),
        ([(R, 9, 4, 9), (R, 8, 4, 9)], "b"),
        ([(R, 4, 4, 4), (S, 4, 4, 4), (C,)], "c"),
        ([(R, 1, 1, 1), (C,)], "b"),
    ],
)
def test_g33_ready_goes_before_starting_and_room_before_all(given: list[tuple[Any, ...]], name: str) -> None:
    assert chosen(*given) == name


CANDIDATES = st.lists(
    st.builds(
        lambda kind, load, at_once, more: (kind, 0 if kind is C else load, at_once, at_once + more),
        st.sampled_from(list(Readiness)), st.integers(0, 6), st.integers(1, 4), st.integers(0, 3),
    ),
    max_size=5,
)  # fmt: skip


@given(CANDIDATES, st.integers(1, 4), st.integers(0, 9))
def test_g33_nobody_is_turned_away_while_there_is_room(
    given: list[tuple[Any, ...]], threshold: int, turn: int
) -> None:
    everybody = candidates(*given)
    choice = choose_spillover(everybody, threshold, lambda of: turn % of)
    available = [each for each in everybody if each.readiness is not U]
    if choice is None:
        assert not available
        return
    assert choice in available
    if any(each.load < each.at_most for each in available):
        assert choice.load < choice.at_most
    if any(each.load < each.at_once for each in available):
        assert choice.load < choice.at_once
    if choice.readiness is S:
        assert not any(each.readiness is R and each.load < each.at_once for each in available)


# -- requests -----------------------------------------------------------------------------------


def configuration(selector: Selector, *models: ModelConfig, **keys: Any) -> Configuration:
    names = ["a", "b", "c"][: len(models)]
    return Configuration(models=dict(zip(names, models, strict=True)), selectors={"s": selector}, **keys)


TWO = (ModelConfig(), ModelConfig())


@attrs.define(eq=False)
class Held:
    """Upstreams that answer when they are told to."""

    let_go: trio.Event = attrs.field(factory=trio.Event)

    def named(self, name: bytes) -> Answer:
        async def answer(seen: Seen, stream: trio.SocketStream) -> None:
            await self.let_go.wait()
            await stream.send_all(plain(name))

        return answer


async def until(served: Rig, **held: int) -> None:
    """Wait until so many requests have their lease."""
    with trio.fail_after(PATIENCE):
        while any(served.fleet.called[name] != count for name, count in held.items()):  # noqa: ASYNC110
            await trio.sleep(0.002)


@pytest.mark.rule("L123")
async def test_h51_pin_is_the_first_target() -> None:
    async with upstream(always(plain(b"a"))) as a, upstream(always(plain(b"b"))) as b:
        config = configuration(Selector("pin", ("b", "a")), *TWO)
        async with rig(a.endpoint, b.endpoint, config=config) as served:
            served.fleet.states["a"] = ProcState.READY
            assert (await served.chat(b'{ "model" : "s", "n":1.0 }')).body == b"b"
    assert b.seen[0].body == b'{ "model" : "b", "n":1.0 }'


@pytest.mark.rule("L124")
async def test_h52_warm_takes_what_is_ready() -> None:
    async with upstream(always(plain(b"a"))) as a, upstream(always(plain(b"b"))) as b:
        config = configuration(Selector("warm", ("a", "b")), *TWO)
        async with rig(a.endpoint, b.endpoint, config=config) as served:
            assert (await served.chat(b'{"model":"s"}')).body == b"a"
            served.fleet.states["b"] = ProcState.STARTING
            assert (await served.chat(b'{"model":"s"}')).body == b"b"
            served.fleet.states["a"] = ProcState.READY
            assert (await served.chat(b'{"model":"s"}')).body == b"a"
            served.fleet.states["a"] = ProcState.STOPPING
            assert (await served.chat(b'{"model":"s"}')).body == b"b"


async def test_l129_an_alias_as_target_has_its_own_filters() -> None:
    model = ModelConfig(aliases=("a:hot",), filters=ModelFilters(set_params_by_id={"a:hot": {"t": 2}}))
    config = attrs.evolve(configuration(Selector("pin", ("a:hot",)), model), aliases={"a:hot": "a"})
    async with upstream(always(plain(b"a"))) as a, rig(a.endpoint, config=config) as served:
        await served.chat(b'{"model":"s"}')
    assert a.seen[0].body == b'{"model":"a:hot","t":2}'


SPREAD = Selector("spillover", ("a", "b"))


async def test_h53_g33_direct_traffic_counts() -> None:
    held = Held()
    async with upstream(held.named(b"a")) as a, upstream(held.named(b"b")) as b:
        async with rig(a.endpoint, b.endpoint, config=configuration(SPREAD, *TWO)) as served:
            served.fleet.states.update(a=ProcState.READY, b=ProcState.STOPPED)
            direct = await served.server.client()
            await direct.send(request("POST", "/v1/completions", "Content-Type: application/json",
                                      body=b'{"model":"a"}'))  # fmt: skip
            await until(served, a=1)
            spread = await served.server.client()
            await spread.send(request("POST", "/v1/completions", "Content-Type: application/json",
                                      body=b'{"model":"s"}'))  # fmt: skip
            await until(served, a=1, b=1)
            held.let_go.set()
            assert [(await direct.reply()).body, (await spread.reply()).body] == [b"a", b"b"]


@pytest.mark.rule("L128")
async def test_h55_what_ends_is_counted_no_longer() -> None:
    async with upstream(always(plain(b"a"))) as a, upstream(always(plain(b"b"))) as b:
        async with rig(a.endpoint, b.endpoint, config=configuration(SPREAD, *TWO)) as served:
            served.fleet.states["a"] = ProcState.READY
            for _ in range(3):
                assert (await served.chat(b'{"model":"s"}')).body == b"a"
            served.fleet.failures["a"] = [RuntimeError("a mistake")]
            assert (await served.chat(b'{"model":"s"}')).status == 500
            assert (await served.chat(b'{"model":"s"}')).body == b"a"
            assert +served.fleet.called == Counter()


async def test_g33_a_burst_is_spread_without_a_429() -> None:
    held, limit = Held(), 3
    models = [ModelConfig(concurrency_limit=limit)] * 2
    async with upstream(held.named(b"a")) as a, upstream(held.named(b"b")) as b:
        async with rig(a.endpoint, b.endpoint, config=configuration(SPREAD, *models)) as served:
            served.fleet.states.update(a=ProcState.READY, b=ProcState.READY)
            replies = list[bytes]()

            async def ask() -> None:
                replies.append((await served.chat(b'{"model":"s"}')).body)

            async with trio.open_nursery() as nursery:
                for _ in range(2 * limit):
                    nursery.start_soon(ask)
                await until(served, a=limit, b=limit)
                held.let_go.set()
    assert Counter(replies) == {b"a": limit, b"b": limit}


@pytest.mark.parametrize(
    "failure",
    [
        Overloaded(ModelId("a"), "full"),
        StartFailed(ModelId("a"), "it exited"),
        "503 Service Unavailable",
        "429 Too Many Requests",
    ],
)
async def test_g33_another_target_is_tried_before_the_first_byte(failure: Exception | str) -> None:
    bad = plain(b"bad", status=failure) if isinstance(failure, str) else plain(b"a")
    async with upstream(always(bad)) as a, upstream(always(plain(b"b"))) as b:
        async with rig(a.endpoint, b.endpoint, config=configuration(SPREAD, *TWO)) as served:
            served.fleet.states["a"] = ProcState.READY
            if isinstance(failure, Exception):
                served.fleet.failures["a"] = [failure]
            reply = await served.chat(b'{"model":"s","x":1}')
            assert (reply.status, reply.body) == (200, b"b")
            assert served.fleet.leases == ["a", "b"]
    assert b.seen[0].body == b'{"model":"b","x":1}'


async def test_g33_a_target_that_hangs_up_is_followed_by_another() -> None:
    async def hang_up(seen: Seen, stream: trio.SocketStream) -> None:
        stream.socket.close()

    async with upstream(hang_up) as a, upstream(always(plain(b"b"))) as b:
        async with rig(a.endpoint, b.endpoint, config=configuration(SPREAD, *TWO)) as served:
            served.fleet.states["a"] = ProcState.READY
            assert (await served.chat(b'{"model":"s"}')).body == b"b"


async def test_the_last_target_s_own_answer_is_passed_on() -> None:
    bad = always(plain(b"too much", status="429 Too Many Requests"))
    async with upstream(bad) as a, upstream(bad) as b:
        async with rig(a.endpoint, b.endpoint, config=configuration(SPREAD, *TWO)) as served:
            reply = await served.chat(b'{"model":"s"}')
    assert (reply.status, reply.body) == (429, b"too much")
    assert len(a.seen) == len(b.seen) == 1


async def test_an_error_that_is_the_request_s_own_is_not_tried_elsewhere() -> None:
    async with upstream(always(plain(b"no", status="400 Bad Request"))) as a, upstream(always(b"")) as b:
        async with rig(a.endpoint, b.endpoint, config=configuration(SPREAD, *TWO)) as served:
            assert (await served.chat(b'{"model":"s"}')).body == b"no"
    assert b.seen == []


@pytest.mark.parametrize("strategy", ["pin", "warm"])
async def test_l128_other_strategies_stay_with_their_choice(strategy: str) -> None:
    async with upstream(always(plain(b"a"))) as a, upstream(always(plain(b"b"))) as b:
        config = configuration(Selector(strategy, ("a", "b")), *TWO)
        async with rig(a.endpoint, b.endpoint, config=config) as served:
            served.fleet.failures["a"] = [Overloaded(ModelId("a"), "full")]
            reply = await served.chat(b'{"model":"s"}')
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (429, "queue_full")


async def test_h54_no_target_is_available() -> None:
    async with rig(config=configuration(SPREAD, *TWO)) as served:
        served.fleet.states.update(a=ProcState.STOPPING, b=ProcState.STOPPING)
        reply = await served.chat(b'{"model":"s"}')
    assert (reply.status, reply["retry-after"]) == (503, "1")
    assert json.loads(reply.body)["error"]["message"] == 'selector "s" has no available spillover targets'


async def test_when_every_target_fails_the_last_failure_is_the_answer() -> None:
    async with rig(config=configuration(SPREAD, *TWO)) as served:
        served.fleet.failures.update(
            a=[Overloaded(ModelId("a"), "full")], b=[StartFailed(ModelId("b"), "it exited")]
        )
        reply = await served.chat(b'{"model":"s"}')
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (502, "start_failed")


async def test_h53_peers_are_targets_too() -> None:
    held = Held()
    async with upstream(held.named(b"a")) as a, upstream(held.named(b"far")) as far:
        config = configuration(
            Selector("spillover", ("a", "far/x"), SelectorSettings(spillover=2)),
            ModelConfig(),
            peers={"far": PeerConfig(far.endpoint.url, ("x",))},
            peer_models={"far/x": ("far", "x")},
        )
        async with rig(a.endpoint, config=config) as served:
            served.fleet.states["a"] = ProcState.READY
            replies = list[bytes]()

            async def ask() -> None:
                replies.append((await served.chat(b'{"model":"s"}')).body)

            async with trio.open_nursery() as nursery:
                for count in (1, 2):
                    nursery.start_soon(ask)
                    await until(served, a=count)
                nursery.start_soon(ask)
                with trio.fail_after(PATIENCE):
                    while not far.seen:  # noqa: ASYNC110
                        await trio.sleep(0.002)
                held.let_go.set()
    assert sorted(replies) == [b"a", b"a", b"far"]
    assert far.seen[0].body == b'{"model":"x"}'


@pytest.mark.rule("L122")
async def test_h49_a_pin_may_lead_to_a_selector_and_its_target_is_the_name_that_counts() -> None:
    model = ModelConfig(aliases=("b:alias",), filters=ModelFilters(set_params_by_id={"b:alias": {"t": 1}}))
    config = configuration(
        Selector("warm", ("a", "b:alias")), ModelConfig(), model, profiles={"p": Profile(pins={"gpt": "s"})}
    )
    config = attrs.evolve(config, aliases={"b:alias": "b"}, api_keys=("key",))
    async with upstream(always(plain(b"a"))) as a, upstream(always(plain(b"b"))) as b:
        async with rig(a.endpoint, b.endpoint, config=config) as served:
            served.fleet.states["b"] = ProcState.READY
            selected = await served.ask("PUT", "/api/profiles/active", "x-api-key: key", body=b'{"name":"p"}')
            assert selected.status == 200
            assert (await served.chat(b'{"model":"gpt"}')).status == 401
            assert (await served.chat(b'{"model":"gpt"}', "x-api-key: key")).body == b"b"
    assert b.seen[0].body == b'{"model":"b:alias","t":1}'


@pytest.mark.rule("L129")
async def test_h56_what_cannot_be_rewritten_is_400() -> None:
    form = b'--XX\r\nContent-Disposition: form-data; name="model"\r\n\r\ns\r\n--XX--\r\n'
    config = attrs.evolve(configuration(Selector("pin", ("a--XX",)), ModelConfig()), aliases={"a--XX": "a"})
    async with upstream(always(plain(b"a"))) as a, rig(a.endpoint, config=config) as served:
        reply = await served.ask(
            "POST", "/v1/images/edits", "Content-Type: multipart/form-data; boundary=XX", body=form
        )
        assert served.fleet.leases == []
    assert reply.status == 400
    assert b"could not rewrite model in multipart form" in reply.body


async def test_h66_the_length_is_that_of_what_is_sent() -> None:
    chunked = b'10\r\n{"model": "s","n\r\n3\r\n":1\r\n1\r\n}\r\n0\r\n\r\n'
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    async with upstream(always(plain(b"a"))) as a:
        config = configuration(Selector("pin", ("a",)), ModelConfig())
        async with rig(a.endpoint, config=config) as served:
            client = await served.server.client()
            await client.send(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked)
            assert (await client.reply()).body == b"a"
    assert a.seen[0].body == b'{"model": "a","n":1}'
    assert a.seen[0]["content-length"] == "20"
    assert "transfer-encoding" not in a.seen[0]
