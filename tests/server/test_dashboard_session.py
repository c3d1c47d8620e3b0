"""The dashboard's session: a token in a cookie, for the pages of this server only."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from calls import new, put
from raw_http import RawClient, RawResponse
from served import Serving

from conveyor.core.access import Token, issue_token
from conveyor.core.job import State
from conveyor.errors import AccessError
from conveyor.server.session_cookie import cookie_name, session_cookie, token_in_cookie
from conveyor.store.memory.store import MemoryStore

PAGE = {"Conveyor-Dashboard": "1"}


def token(store: MemoryStore, *scopes: str) -> tuple[str, Token]:
    text, made = issue_token("ada", scopes, now=store.now())
    store.add_token(made).result()
    return text, made


def log_in(server: Serving, text: str, **headers: str) -> RawResponse:
    return RawClient(server.url)("POST", "/session", {"token": text}, headers={**PAGE, **headers})


def cookie_of(response: RawResponse) -> str:
    return response.headers["set-cookie"].partition(";")[0]


def test_a_login_makes_a_session_that_scripts_and_other_sites_cannot_use(
    store: MemoryStore, server: Serving
) -> None:
    text, _ = token(store, "read")
    response = log_in(server, text)
    assert (response.status, response.text) == (204, "")
    attributes = response.headers["set-cookie"].split("; ")[1:]
    assert {"HttpOnly", "SameSite=Strict"} <= set(attributes)
    assert not any(each.startswith(("Path", "Domain")) for each in attributes)
    me = RawClient(server.url)("GET", "/me", headers={"Cookie": cookie_of(response)}).data
    assert (me["role"], me["has_session"]) == ("read only", True)
    assert me["name"].endswith("ada")
    assert "find" in me["may"]
    assert not {"cancel", "retry", "set_paused", "insert"} & set(me["may"])


def test_over_tls_the_cookie_is_sent_over_tls_only() -> None:
    assert "; Secure" in session_cookie({"host": "x"}, "t", tls=True)
    assert "; Secure" in session_cookie({"x-forwarded-proto": "https"}, "t", tls=False)
    assert "Secure" not in session_cookie({"host": "x"}, "t", tls=False)


def test_servers_on_several_ports_of_a_host_have_cookies_of_their_own() -> None:
    names = {cookie_name({"host": host}) for host in ("a:80", "a:81", "a", "[::1]:82")}
    assert len(names) == 4


def test_a_wrong_token_makes_no_session(store: MemoryStore, server: Serving) -> None:
    text, made = token(store, "read")
    for wrong in ("", "x", text[:-1] + ("a" if text[-1] != "a" else "b"), f"cvy_{made.id}_x"):
        response = log_in(server, wrong)
        assert response.is_problem(401, "unauthorized")
        assert "set-cookie" not in response.headers


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b'{"token": 1}', b'{"token": "a", "x": 1}', b'{"token": "\xff"}'],
)
def test_a_login_that_is_none_is_refused(server: Serving, body: bytes) -> None:
    ask = RawClient(server.url)
    assert ask("POST", "/session", body, headers=PAGE).is_problem(400, "usage")


def test_a_login_with_a_large_body_is_refused(server: Serving) -> None:
    assert log_in(server, "x" * 2000).is_problem(400, "usage")


def test_the_server_refuses_what_the_scopes_do_not_allow(
    store: MemoryStore, server: Serving
) -> None:
    put(store, new(id="a"))
    text, _ = token(store, "read")
    headers = {"Cookie": cookie_of(log_in(server, text)), **PAGE}
    ask = RawClient(server.url)
    assert ask("GET", "/jobs", headers=headers).status == 200
    for method, path, body in (
        ("POST", "/jobs/a/cancel", {"reason": "x"}),
        ("POST", "/jobs/a/retry", None),
        ("DELETE", "/jobs/a", None),
        ("PUT", "/queues/default/paused", {"paused": True}),
        ("POST", "/queues/default/jobs", {"jobs": [{"task": "t"}]}),
        ("GET", "/audit", None),
    ):
        assert ask(method, path, body, headers=headers).is_problem(403, "forbidden"), path
    assert store.get("a").result().state is State.AVAILABLE


def test_a_logout_ends_the_session(store: MemoryStore, server: Serving) -> None:
    text, _ = token(store, "admin")
    cookie = cookie_of(log_in(server, text))
    response = RawClient(server.url)("DELETE", "/session", headers={"Cookie": cookie, **PAGE})
    assert response.status == 204
    assert response.headers["set-cookie"].startswith(f"{cookie.partition('=')[0]}=; Max-Age=0;")


def test_a_revoked_token_ends_the_session(store: MemoryStore, server: Serving) -> None:
    text, made = token(store, "admin")
    headers = {"Cookie": cookie_of(log_in(server, text))}
    ask = RawClient(server.url)
    assert ask("GET", "/me", headers=headers).status == 200
    store.revoke_token(made.id).result()
    assert ask("GET", "/me", headers=headers).is_problem(401, "unauthorized")


FOREIGN: list[Mapping[str, str]] = [
    {"Sec-Fetch-Site": "cross-site", **PAGE},
    {"Sec-Fetch-Site": "same-site", **PAGE},
    {"Origin": "https://evil.example", **PAGE},
    {"Origin": "null", **PAGE},
    {"Origin": "http://127.0.0.1:1", **PAGE},
    {},  # a form: it can be sent from anywhere, but not with a header of ours
    {"Sec-Fetch-Site": "none"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_another_page_can_do_nothing_with_the_session(
    store: MemoryStore, server: Serving, headers: Mapping[str, str]
) -> None:
    put(store, new(id="a"))
    text, _ = token(store, "admin")
    cookie = cookie_of(log_in(server, text))
    ask = RawClient(server.url)
    response = ask("POST", "/jobs/a/cancel", {"reason": "x"}, headers={"Cookie": cookie, **headers})
    assert response.is_problem(403, "forbidden")
    assert store.get("a").result().state is State.AVAILABLE
    assert ask("DELETE", "/session", headers={"Cookie": cookie, **headers}).status == 403
    assert ask("POST", "/session", {"token": text}, headers=headers).status == 403


def test_the_server_s_own_pages_may_also_behind_a_proxy_that_changes_the_host() -> None:
    own = {
        "cookie": "conveyor_session=t",
        "host": "upstream",
        "origin": "https://ops.example",
        "sec-fetch-site": "same-origin",
        "conveyor-dashboard": "1",
    }
    assert token_in_cookie(own, "POST") == "t"
    with pytest.raises(AccessError):
        token_in_cookie(own | {"sec-fetch-site": "cross-site"}, "POST")


def test_cookies_of_others_and_broken_ones_are_ignored() -> None:
    for cookie in (
        "",
        "other=1",
        "conveyor_session_1=x",
        "conveyor_session=",
        "conveyor_session;\\",
    ):
        assert token_in_cookie({"cookie": cookie, "host": "x"}, "GET") is None


def test_without_tokens_a_page_of_another_host_name_gets_no_data(store: MemoryStore) -> None:
    """DNS rebinding: the name of the page's host is made to mean this machine."""
    server = Serving(store)
    ask = RawClient(server.url)
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
        for path in ("/me", "/events", "/jobs"):
            assert ask("GET", path, headers=headers).is_problem(403, "forbidden")
    assert ask("GET", "/me").data["role"] == "admin"
    server.close()


def test_who_looks_and_what_changes_is_for_holders_of_a_token(server: Serving) -> None:
    ask = RawClient(server.url)
    for path in ("/me", "/events"):
        assert ask("GET", path).is_problem(401, "unauthorized")
        assert ask("GET", path, headers={"Cookie": "conveyor_session=x"}).status == 401


def test_me_names_who_looks_and_where(store: MemoryStore) -> None:
    server = Serving(store)
    me = json.loads(RawClient(server.url)("GET", "/me").text)
    assert (me["name"], me["has_session"], me["queues"]) == ("anybody", False, [])
    assert me["instance"]
    server.close()
