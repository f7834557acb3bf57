"""The web page at ``/ui/``, and builds of others in its place: rules H15, H132, H136 to H138."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import tree_sitter
import tree_sitter_javascript
from click.testing import CliRunner
from http_wire import rig
from hypothesis import given, strategies as st
from served_models import serving

from swapcli._cli import swapcli
from swapcli.config import Configuration
from swapcli.http import ROUTES, UiFiles
from swapcli.http.routes import Found, RouteTable

KEY = "Authorization: Basic " + base64.b64encode(b"anybody:secret").decode()
PAGE = UiFiles().read("index.html", "")
assert PAGE is not None
SCRIPT = PAGE.body.decode().partition("<script>")[2].partition("</script>")[0]


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """Somebody's page, in a folder beside a file that nobody is to see."""
    (tmp_path / "secret.txt").write_text("SECRET")
    folder = tmp_path / "build"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<p>index</p>")
    (folder / "favicon.ico").write_bytes(b"icon")
    (folder / "assets" / "app.js").write_text("let a = 0123456789")
    (folder / "assets" / "app.js.br").write_bytes(b"compressed")
    (folder / "assets" / "no type").write_bytes(b"?")
    (folder / "leak.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "leaks").symlink_to(tmp_path)
    return folder


# -- our own page --------------------------------------------------------------------------------


async def test_h15_h132_the_way_to_the_page_needs_no_key() -> None:
    async with rig(config=Configuration(api_keys=("secret",))) as served:
        root = await served.ask("GET", "/?a=b")
        assert (root.status, root["location"], root.body) == (302, "/ui", b'<a href="/ui">Found</a>.\n\n')
        slash = await served.ask("GET", "/ui?a=b")
        assert (slash.status, slash["location"]) == (307, "/ui/?a=b")
        assert slash.body == b'<a href="/ui/?a=b">Temporary Redirect</a>.\n\n'
        wrong = await served.ask("POST", "/ui")
        assert (wrong.status, wrong["allow"]) == (405, "GET, HEAD")


async def test_the_page_needs_a_key_and_a_browser_asks_for_it() -> None:
    async with rig(config=Configuration(api_keys=("secret",))) as served:
        refused = await served.ask("GET", "/ui/")
        assert (refused.status, refused["www-authenticate"]) == (401, 'Basic realm="swapcli"')
        page = await served.ask("GET", "/ui/", KEY)
    assert page.status == 200
    assert page["content-type"] == "text/html; charset=utf-8"
    assert b"<title>swapcli</title>" in page.body


async def test_h138_the_icon_needs_no_key() -> None:
    async with rig(config=Configuration(api_keys=("secret",))) as served:
        icon = await served.ask("GET", "/favicon.ico")
    assert (icon.status, icon["content-type"]) == (200, "image/vnd.microsoft.icon")
    assert icon.body.startswith(b"\0\0\1\0")


def test_the_browser_runs_the_pages_own_script_and_nothing_else() -> None:
    assert PAGE is not None
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = PAGE.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}';" in policy
    text = PAGE.body.decode()
    assert "://" not in text  # nothing comes from anywhere else
    assert not re.search(r"\son\w+=|innerHTML|javascript:", text)


def test_the_script_is_javascript() -> None:
    language = tree_sitter.Language(tree_sitter_javascript.language())
    assert not tree_sitter.Parser(language).parse(SCRIPT.encode()).root_node.has_error
    assert tree_sitter.Parser(language).parse(SCRIPT[:-20].encode()).root_node.has_error


def test_the_script_finds_its_elements_and_endpoints() -> None:
    ids, labelled = set[str](), set[str]()

    class Page(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found = dict(attrs)
            ids.add(found.get("id") or "")
            labelled.add(found.get("aria-labelledby") or "")

    assert PAGE is not None
    Page().feed(PAGE.body.decode())
    assert set(re.findall(r'\$\("([^"]+)"\)', SCRIPT)) | labelled <= ids
    table = RouteTable(ROUTES)
    asked = re.findall(r'"(GET|POST|PUT)", ["`]([a-z/]+(?:\$\{[^}]*\})?[^"`]*)', SCRIPT)
    asked += [("GET", path) for path in re.findall(r"\$\{base\}([a-z/]+(?:\$\{[^}]*\})?)", SCRIPT)]
    assert len(asked) > 8
    for method, path in asked:
        concrete = "/" + re.sub(r"\$\{[^}]*\}", "some%2Fmodel", path)
        assert isinstance(table.look_up(method, concrete.encode(), b""), Found), (method, path)


# -- another build -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/ui/", 200, b"<p>index</p>"),
        ("/ui/index.html", 200, b"<p>index</p>"),
        ("/ui/models", 200, b"<p>index</p>"),
        ("/ui/models/of/mine/", 200, b"<p>index</p>"),
        ("/ui/assets", 200, b"<p>index</p>"),
        ("/ui/assets/", 200, b"<p>index</p>"),
        ("/ui/assets/app.js", 200, b"let a = 0123456789"),
        ("/ui/assets%2Fapp.js", 200, b"let a = 0123456789"),
        ("/ui/assets/no%20type", 200, b"?"),
        ("/ui/other.js", 404, b"404 page not found\n"),
        ("/ui/assets/.", 307, b""),
        ("/ui/leak.txt", 404, b"404 page not found\n"),
        ("/ui/leaks/secret.txt", 404, b"404 page not found\n"),
        ("/ui/%2e%2e/secret.txt", 404, b"404 page not found\n"),
        ("/ui/..%2fsecret.txt", 404, b"404 page not found\n"),
        ("/ui/assets/..%5c..%5csecret.txt", 404, b"404 page not found\n"),
        ("/ui/index.html%00.txt", 404, b"404 page not found\n"),
        ("/ui/" + "a" * 5000 + ".js", 404, b"404 page not found\n"),
    ],
)
async def test_h136_files_and_paths_that_the_page_knows(
    build: Path, path: str, status: int, body: bytes
) -> None:
    async with rig(ui_files=UiFiles(build)) as served:
        reply = await served.ask("GET", path)
    assert reply.status == status
    assert status == 307 or reply.body == body
    assert reply.values("last-modified") == reply.values("etag") == reply.values("cache-control") == []


async def test_h136_head_and_ranges(build: Path) -> None:
    async with rig(ui_files=UiFiles(build)) as served:
        head = await served.ask("HEAD", "/ui/assets/app.js")
        assert (head.status, head["content-length"], head.body) == (200, "18", b"")
        assert head["accept-ranges"] == "bytes"
        assert head["content-type"] == "text/javascript; charset=utf-8"
        part = await served.ask("GET", "/ui/assets/app.js", "Range: bytes=4-6")
        assert (part.status, part["content-range"], part.body) == (206, "bytes 4-6/18", b"a =")
        end = await served.ask("GET", "/ui/assets/app.js", "Range: bytes=-3")
        assert (end.status, end.body) == (206, b"789")
        beyond = await served.ask("GET", "/ui/assets/app.js", "Range: bytes=99-")
        assert (beyond.status, beyond["content-range"]) == (416, "bytes */18")
        for whole in ("bytes=0-1,3-4", "lines=1-2", "bytes=x"):
            assert (await served.ask("GET", "/ui/assets/app.js", f"Range: {whole}")).status == 200
        older = await served.ask("GET", "/ui/assets/app.js", "Range: bytes=4-6", 'If-Range: "x"')
        assert older.status == 200


@pytest.mark.parametrize(
    ("accepted", "is_compressed"),
    [
        ("br", True),
        ("gzip, br;q=0.5", True),
        ("br;q=0", True),
        ("gzip", False),
        ("brotli", False),
        ("", False),
    ],
)
async def test_h137_a_compressed_file_beside_the_file(
    build: Path, accepted: str, is_compressed: bool
) -> None:
    async with rig(ui_files=UiFiles(build)) as served:
        reply = await served.ask("GET", "/ui/assets/app.js", f"Accept-Encoding: {accepted}")
    assert reply["content-type"] == "text/javascript; charset=utf-8"
    assert reply.values("content-encoding") == ["br"] * is_compressed
    assert reply.values("vary") == ["Accept-Encoding"] * is_compressed
    assert (reply.body == b"compressed") is is_compressed


async def test_h138_the_icon_of_another_build(build: Path) -> None:
    async with rig(ui_files=UiFiles(build)) as served:
        assert (await served.ask("GET", "/favicon.ico")).body == b"icon"
    (build / "favicon.ico").unlink()
    async with rig(ui_files=UiFiles(build)) as served:
        assert (await served.ask("GET", "/favicon.ico")).status == 404


PARTS = st.sampled_from(
    [
        "..",
        ".",
        "",
        "secret.txt",
        "build",
        "leaks",
        "leak.txt",
        "assets",
        "app.js",
        "\\",
        "\0",
        "~",
        "C:",
        "/",
    ]
)


@given(st.lists(PARTS, max_size=6), st.sampled_from(["", "br"]))
def test_nothing_outside_of_the_folder_is_ever_read(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str], accepted: str
) -> None:
    outside = tmp_path_factory.getbasetemp() / "traversal"
    build = outside / "build"
    if not build.exists():
        (build / "assets").mkdir(parents=True)
        for name in ("secret.txt", "secret.txt.br"):
            (outside / name).write_text("SECRET")
        (build / "index.html").write_text("index")
        (build / "leak.txt").symlink_to(outside / "secret.txt")
        (build / "leaks").symlink_to(outside)
    file = UiFiles(build).read("/".join(parts), accepted)
    assert file is None or b"SECRET" not in file.body


def test_a_folder_without_a_page_is_wrong_usage(tmp_path: Path) -> None:
    for folder, why in ((tmp_path / "none", "does not exist"), (tmp_path, "there is no index.html in")):
        result = CliRunner().invoke(swapcli, ["serve", "--ui-dir", str(folder)])
        assert result.exit_code == 2
        assert why in result.output


def test_a_server_shows_the_build_that_it_is_told_to(build: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"models:\n  m:\n    cmd: {sys.executable} -V\n    proxy: http://127.0.0.1:1\n")
    with serving(config, tmp_path / "log", "-ui-dir", os.path.relpath(build)) as server:
        assert server.get("/ui/anything") == b"<p>index</p>"
