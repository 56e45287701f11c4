"""The redactor: what it takes out, what it leaves, and that a body stays what it was otherwise."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from agentcheck.events import TABLE, check
from agentcheck.ledger.ledger import Ledger
from agentcheck.ledger.patterns import IS_PLACEHOLDER, is_card, is_ssn, kind_of_key
from agentcheck.ledger.redaction import STRUCTURAL, Redactor, for_no_run
from fakes_ledger import MemoryStore, body, every_type

KEY = b"k" * 32
REDACT = Redactor(KEY)
CARD, AMEX, SSN = "4111111111111111", "378282246310005", "123-45-6789"


def _key(*parts: str) -> str:
    """A made-up key, put together here so that no scanner of repositories takes this file for a leak."""
    return "".join(parts)


#: kind -> texts that are wholly replaced.
SECRETS = [
    ("email", "bob@example.com"),
    ("email", "first.last+tag@mail.sub-domain.co.uk"),
    ("email", "jürgen@müller.de"),
    ("ssn", SSN),
    ("card", CARD),
    ("card", "4111 1111 1111 1111"),
    ("card", "5500-0000-0000-0004"),
    ("card", AMEX),
    ("card", "3782 822463 10005"),
    ("card", "6011000990139424"),
    ("card", "30569309025904"),
    ("card", "2223003122003222"),
    ("api_key", _key("sk-", "abcdefghijklmnop1234")),
    ("api_key", _key("sk-", "proj-", "Ab1_" * 12)),
    ("api_key", _key("sk-", "ant-api03-", "x9Y" * 20)),
    ("api_key", _key("sk_", "live_", "abcdefghijklmnop1234")),
    ("api_key", _key("AKIA", "IOSFODNN7EXAMPLE")),
    ("api_key", _key("ASIA", "IOSFODNN7EXAMPLE")),
    ("api_key", _key("ghp_", "a1B2" * 9)),
    ("api_key", _key("github_pat_", "a1B2_" * 10)),
    ("api_key", _key("glpat-", "a1B2c3D4e5F6g7H8i9J0")),
    ("api_key", _key("xoxb-", "123456789012-abcdefABCDEF")),
    ("api_key", _key("AIza", "SyA1234567890abcdefghijklmnopqrstuv")),
    ("api_key", _key("ya29.", "a0AfH6SMBx1234567890abc")),
    ("api_key", _key("npm_", "a1B2" * 9)),
    ("api_key", _key("hf_", "a1B2c3" * 6)),
    ("api_key", _key("SG.", "abcdefghijklmnop12.", "abcdefghijklmnop1234")),
    ("api_key", _key("hvs.", "CAESI" * 6)),
    ("api_key", _key("hooks.slack.com", "/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX")),
    ("api_key", _key("123456789", ":AA", "abcdefghijklmnopqrstuvwxyz0123456")),
    (
        "jwt",
        _key("eyJhbGciOiJIUzI1NiJ9", ".eyJzdWIiOiIxMjM0NTY3ODkwIn0", ".dozjgNryP4J3jVmNHl0w5N_XgL0"),
    ),
    ("private_key", _key("PRIVATE+KEY+", "example.org/acme+c74f20a3+", "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")),
    ("private_key", "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nProc-Type: 4\nabc+/=\n-----END RSA PRIVATE KEY-----"),
    ("private_key", "-----BEGIN OPENSSH PRIVATE KEY-----\\nb3BlbnNzaC1rZXk\\n-----END OPENSSH PRIVATE KEY-----"),
]


@pytest.mark.parametrize(
    ("kind", "secret"), SECRETS, ids=[f"{kind}-{number}" for number, (kind, _) in enumerate(SECRETS)]
)
@pytest.mark.parametrize("around", ["{}", "see {} please", "({})", '"{}"', "x: {}, y", "{}\n", "a={};", "<{}>"])
def test_secrets_are_taken_out_of_texts(kind: str, secret: str, around: str) -> None:
    """A secret is replaced wherever it stands in a text, the rest stays, and redacting again changes nothing."""
    text = around.format(secret)
    redacted = REDACT.text(text)
    assert re.fullmatch(re.escape(around).replace(r"\{\}", rf"\[redacted:{kind}:[0-9a-f]{{16}}\]"), redacted), redacted
    assert REDACT.text(redacted) == redacted


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("password=hunter2", "password=[secret]"),
        ("PASSWORD: hunter2, user: bob", "PASSWORD: [secret], user: bob"),
        ("DB_PASSWORD='correct horse'", "DB_PASSWORD='[secret]'"),
        ('--token "abc def" --x', '--token "abc def" --x'),
        ('api_key = "abc"; x', 'api_key = "[secret]"; x'),
        ("AWS_SECRET_ACCESS_KEY=abc/def+ghi", "AWS_SECRET_ACCESS_KEY=[secret]"),
        ("https://x.org/?q=1&access_token=abc&b=2", "https://x.org/?q=1&access_token=[secret]&b=2"),
        ("x-api-key: abc123", "x-api-key: [secret]"),
        ("client_secret => abc", "client_secret => [secret]"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer [authorization]"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic [authorization]"),
        ("authorization: abc", "authorization: [authorization]"),
        ("curl -H 'Authorization: token abc'", "curl -H 'Authorization: token [authorization]'"),
        ("sent Bearer abcdef123456 to it", "sent Bearer [authorization] to it"),
        ("Bearer " + "abcdefgh" * 5, "Bearer [authorization]"),
        ("postgres://app:s3cret@db.example.org/x", "postgres://app:[secret]@db.example.org/x"),
        ("SSN 123456789", "SSN [ssn]"),
        ("social security number: 123 45 6789.", "social security number: [ssn]."),
        (f"two: {CARD} {AMEX}", "two: [card] [card]"),
        (f"1234 {CARD[:4]} {CARD[4:8]} {CARD[8:12]} {CARD[12:]} 12/27", "1234 [card] 12/27"),
        ('log {"password":"a b","user":"c"} end', 'log {"password":"[secret]","user":"c"} end'),
        (r"{\"token\": \"abc\"}", r"{\"token\": \"[secret]\"}"),
        ("a@b.com, c@d.org", "[email], [email]"),
        ("Set-Cookie: session=abc", "Set-Cookie: [secret]"),
    ],
)
def test_secrets_that_say_so(text: str, redacted: str) -> None:
    """A value beside a word that says it is secret is replaced, and nothing beside it."""
    found = REDACT.text(text)
    assert re.sub(r"\[redacted:([a-z_]+):[0-9a-f]{16}\]", r"[\1]", found) == redacted
    assert REDACT.text(found) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Pay 4,111.11 EUR and 1111111111111111 units on 2024-01-15 at 12:30",
        "IBAN GB29NWBK60161331926819, DE89 3704 0044 0532 0130 00, +1 (415) 555-2671",
        "550e8400-e29b-41d4-a716-446655440000 and 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        "0.4111111111111111 and 4111111111111111.5 are fractions",
        "4111111111111112 fails the check digit; 9999999999999995 has no issuer",
        "000-12-3456, 666-12-3456, 912-12-3456, 123-00-4567, 123-45-0000 were never issued",
        "1-123-45-6789-1 is no such number, nor is 100 20 3000",
        "1700000000000000 microseconds",
        "input_tokens: 500, max_tokens=1000, passengers: 3, key: C major, a monkey: banana",
        "tokens are counted; the password must be changed; a secret ballot; basic information; bearer shares",
        "password: null, token=None, secret: ${SECRET}, api_key=<your key>, token: {}",
        "risk-management-and-controls, disk-usage-of-partition, sk-learn-pipelines-and-more",
        "user@localhost, @mention, a @ b, x@y, 3@4.5",
        "see task-force-2024-report-final-version and eyJ",
        "className=session, the lessness of it",
        "[redacted:email:0123456789abcdef] stays",
        "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
        "Erlöse: 12 €, 日本語, \u202e, \x00\x1b[31m",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    """Amounts, ids, hashes, dates, IBANs, telephone numbers and plain words are not touched."""
    assert REDACT.text(text) == text


@pytest.mark.parametrize(
    ("given", "redacted"),
    [
        ('{"password":"a","n":1}', '{"password":"[secret]","n":1}'),
        ('{ "password" : "a" ,\n "b": [1.50, 1e400, 1E5] }', '{ "password" : "[secret]" ,\n "b": [1.50, 1e400, 1E5] }'),
        ('{"a":1,"a":2,"token":12345}', '{"a":1,"a":2,"token":"[secret]"}'),
        ('{"tokens":["a"],"token":["a",{"b":"c"},null,""]}', '{"tokens":["a"],"token":["[secret]",{"b":"c"},null,""]}'),
        ('{"password":{"type":"x"},"required":["password"]}', '{"password":{"type":"x"},"required":["password"]}'),
        (f"[{CARD},-{CARD},{CARD}.5,{CARD}e1,4.{CARD}]", f'["[card]","[card]",{CARD}.5,{CARD}e1,4.{CARD}]'),
        (CARD, '"[card]"'),
        (f'"{CARD}"', '"[card]"'),
        ('{"bob@example.com":{"ssn":123456789,"cvv":"123"}}', '{"[email]":{"ssn":"[ssn]","cvv":"[card]"}}'),
        (r'{"t":"{\"password\":\"a\",\"x\":[1]}"}', r'{"t":"{\"password\":\"[secret]\",\"x\":[1]}"}'),
        (r'{"t":"\"bob@example.com\""}', r'{"t":"\"[email]\""}'),
        (r'{"t":"bob\u0040example.com","u":"\u00e9"}', r'{"t":"[email]","u":"\u00e9"}'),
        (r'{"p\u0061ssword":"a"}', r'{"p\u0061ssword":"[secret]"}'),
        ('{"Authorization":"Bearer x"}', '{"Authorization":"[secret]"}'),
        ('["password","a"]', '["password","a"]'),
        ('{"k":"password=a b"}', '{"k":"password=[secret] b"}'),
        ('{"big":' + "9" * 400 + ',"token":"x"}', '{"big":' + "9" * 400 + ',"token":"[secret]"}'),
    ],
)  # fmt: skip
def test_json_fields_stay_json(given: str, redacted: str) -> None:
    """In JSON text keys, texts and integers are looked at, at any depth, and all other bytes stay as they were."""
    found = REDACT("action.finished", body("action.finished", output=given))
    check("action.finished", found)
    text = found["output"]
    assert re.sub(r"\[redacted:([a-z_]+):[0-9a-f]{16}\]", r"[\1]", text) == redacted
    json.loads(text)
    assert REDACT("action.finished", found) == found


def test_json_in_json_in_json() -> None:
    """A secret is found through several layers of JSON text, and each layer stays JSON."""
    inner: Any = {"api_key": "abc", "mail": "bob@example.com", "n": int(CARD)}
    text = json.dumps(inner)
    for _ in range(4):
        text = json.dumps({"layer": text})
    found = REDACT.text(text)
    for _ in range(4):
        found = json.loads(found)["layer"]
    values = json.loads(found)
    assert all(IS_PLACEHOLDER.fullmatch(value) for value in values.values())
    very_deep = "bob@example.com"
    for _ in range(14):
        very_deep = json.dumps([very_deep])
    assert "example" not in REDACT.text(very_deep)


@pytest.mark.parametrize(("name", "field"), [("action.requested", "cause"), ("run.suite", "agent_commit")])
def test_fields_that_others_fill_are_looked_at(name: str, field: str) -> None:
    """What an agent gives as the cause of an action, or a suite as its agent's commit, is no name of ours."""
    redacted = REDACT(name, body(name, **{field: "password: hunter2"}))
    assert "hunter2" not in redacted[field]


def test_a_redactor_for_no_run_has_a_key_of_its_own() -> None:
    """Errors of commands are redacted by keys that nobody keeps."""
    told = for_no_run().text("no case 'bob@example.com'"), for_no_run().text("no case 'bob@example.com'")
    assert all(re.fullmatch(r"no case '\[redacted:email:[0-9a-f]{16}\]'", text) for text in told)
    assert told[0] != told[1]


def test_a_placeholder_is_a_salted_commitment() -> None:
    """With the key and the value anybody can derive the placeholder as documented; other keys give others."""
    value = b"bob@example.com"
    salt = hmac.new(KEY, b"email|" + value, "sha256").digest()
    assert REDACT.text("bob@example.com") == f"[redacted:email:{hashlib.sha256(salt + value).hexdigest()[:16]}]"
    assert Redactor(b"K" * 32).text("bob@example.com") != REDACT.text("bob@example.com")
    assert REDACT.key_id != Redactor(b"K" * 32).key_id


def test_equal_values_give_equal_placeholders() -> None:
    """The same value is recognised again, however a card or social security number is written."""
    written = (CARD, "4111 1111 1111 1111", "4111-1111-1111-1111")
    assert len({REDACT.text(text) for text in written}) == 1
    assert REDACT.value({"n": int(CARD)})["n"] == REDACT.text(CARD)
    assert REDACT.value({"ssn": 123456789})["ssn"] == REDACT.text(SSN)


def test_clean_bodies_come_back_as_they_are() -> None:
    """Without a finding the very same object comes back, for every event type."""
    for name, event in every_type():
        assert REDACT(name, event) is event


def test_a_secret_that_touches_another_is_found_too() -> None:
    """What stands directly behind a number looks like a part of it until the number is hidden."""
    redacted = REDACT.text("ssn 123-45-6789sk-a1a1a1a1a1a1a1a1a1a1")
    assert "a1a1" not in redacted
    assert REDACT.text(redacted) == redacted


def test_a_text_that_was_clean_before_stays_so_and_hides_no_other() -> None:
    """The memory of clean texts is of whole texts: beside one of them, and after it, a secret is still found."""
    redact = Redactor(bytes(32))
    clean = {"turn": 1, "text": "the password"}
    assert redact("case.turn", clean) is clean
    assert redact("case.turn", clean) is clean
    body = redact("score.recorded", {"reason": "the password", "detail": '{"said":"mail a@example.org"}'})
    assert "a@example.org" not in body["detail"]
    assert "hunter2" not in redact("case.turn", {"turn": 2, "text": "the password: hunter2"})["text"]


def test_plugin_events_are_looked_through() -> None:
    """Events of plugins have no table of fields: everything in them is looked at."""
    event = {"mail": "bob@example.com", "deep": [{"password": "x", "n": int(CARD)}], "count": 3}
    found = REDACT("x.plugin.seen", event)
    assert found["count"] == 3
    assert "bob" not in json.dumps(found)
    assert all(IS_PLACEHOLDER.fullmatch(value) for value in found["deep"][0].values())
    check("x.plugin.seen", found)
    clean = {"a": 1}
    assert REDACT("x.plugin.seen", clean) is clean


def test_every_field_that_can_hold_foreign_text_is_looked_at() -> None:
    """Of the table's fields of kind text, json, list and map, all but the structural ones are redacted."""
    for name, row in TABLE.items():
        for field, kind in row.kinds.items():
            if kind not in ("text", "json", "list", "map"):
                continue
            given: Any = {
                "json": '"bob@example.com"',
                "list": ["bob@example.com"],
                "map": {"m": "bob@example.com"},
            }.get(kind, "bob@example.com")
            found = REDACT(name, body(name, **{field: given}))[field]
            assert ("bob" in json.dumps(found)) == (field in STRUCTURAL), (name, field)


def test_structural_fields_are_not_mangled() -> None:
    """Ids and hashes that look like a card number stay, because events are joined by them."""
    event = body("action.decided", action=CARD, policy=CARD, rule=CARD, reason="x")
    assert REDACT("action.decided", event) is event


def test_maps_and_lists_of_an_event_are_redacted() -> None:
    """Keys, texts and long integers inside maps and lists are replaced; the event still fits the table."""
    event = body("run.started", command=["run", "--token=abc"], configuration={"a@b.com": int(CARD), "password": 12})
    found = REDACT("run.started", event)
    check("run.started", found)
    text = json.dumps(found)
    assert "abc" not in found["command"][1]
    assert CARD not in text
    assert "a@b.com" not in text
    assert IS_PLACEHOLDER.fullmatch(found["configuration"]["password"])


def test_keys_that_become_equal_keep_both_values() -> None:
    """One card number, written in two ways, as two keys of a map: both values stay."""
    found = REDACT.value({CARD: "a", "4111 1111 1111 1111": "b"})
    assert sorted(found.values()) == ["a", "b"]


def test_the_ledger_writes_placeholders_only() -> None:
    """Through the ledger, no secret reaches the store's bytes."""
    store = MemoryStore()
    secrets = [secret for _, secret in SECRETS]
    with Ledger(store, "main", redact=REDACT) as ledger:
        for secret in secrets:
            ledger.record("action.finished", body("action.finished", output=json.dumps({"text": f"it is {secret}."})))
            ledger.record("case.turn", {"turn": 1, "text": secret})
    stored = b"".join(row.payload for row in store.rows).decode()
    assert not [secret for secret in secrets if secret in stored or json.dumps(secret)[1:-1] in stored]


@pytest.mark.parametrize(
    "text",
    [
        "a" * 100_000,
        "a@" * 50_000,
        "@" * 100_000,
        "a." * 50_000 + "@" + "b." * 50_000,
        "1" * 100_000,
        "1-" * 50_000,
        "1 " * 50_000,
        "4111 " * 20_000,
        "sk-" * 33_000,
        "eyJ" * 33_000,
        "-eyJ" * 25_000,
        "eyJaaaaaaaaaaaa." * 6_000,
        "password=" * 11_000,
        "password='" * 10_000,
        'password="' * 10_000,
        'password=\\"' * 9_000,
        "password" + " " * 100_000,
        "password" + "\\" * 100_000,
        "authorization: bearer " * 4_500,
        "bearer " * 14_000,
        "-----BEGIN PRIVATE KEY-----" * 3_700,
        "-----BEGIN PRIVATE KEY-----" + "-" * 100_000,
        "-----BEGIN " + "-a" * 50_000,
        "://a:b" * 16_000,
        "://" + "a" * 100_000,
        "://" * 33_000 + "@",
        "social security " * 6_000,
        "[redacted:" * 10_000,
        "[redacted:secret:0123456789abcdef]" * 3_000,
        "xoxb-" * 20_000,
        "SG." * 33_000 + "@",
        "ghp_" * 25_000,
        "[" * 100_000,
        '{"a":' * 20_000,
        '"' * 100_001,
        '"' + '\\"' * 50_000,
        "[" + '"a@b.co",' * 11_000 + "1]",
        "[" + '"",' * 33_000 + '"password="]',
        "\\u0040" * 16_000,
        "1.4111111111111111" * 5_000,
        "4111111111111111 123-45-6789 a@b.co password=x " * 2_000,
        "key:" * 25_000,
        "ß@İ.com " * 12_000,
    ],
    ids=lambda text: f"{text[:12]!r}x{len(text)}",
)
def test_no_text_takes_it_hostage(text: str) -> None:
    """Texts of 100 kB made to make expressions run away are done within a fixed number of processor seconds."""
    code = textwrap.dedent(
        """
        import resource, sys
        from agentcheck.ledger.redaction import Redactor
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
        text = sys.stdin.read()
        redact = Redactor(b"k" * 32)
        once = redact.text(text)
        assert redact.text(once) == once
        redact("action.finished", {"action": "a", "status": "done", "output": text, "duration": 1})
        """
    )
    pytest.importorskip("resource")
    done = subprocess.run(
        [sys.executable, "-c", code], input=text, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-300:]


def test_check_digits_and_numbers() -> None:
    """Card numbers need a known issuer, a length and a check digit; social security numbers an issued range."""
    assert is_card(CARD)
    assert not is_card(CARD[:-1] + "2")
    assert not is_card("0" * 16)
    assert not is_card("4" + "0" * 30)
    assert is_ssn("123456789")
    assert not any(map(is_ssn, ("000456789", "666456789", "900456789", "123006789", "123450000")))


def test_names_of_keys() -> None:
    """Keys of objects that say what their value is, in any spelling; counts and other words are not among them."""
    for name in ("password", "DB_PASSWORD", "api-key", "apiKey", "X-Api-Key", "accessToken", "client_secret", "Cookie"):
        assert kind_of_key(name) == "secret", name
    assert kind_of_key("card_number") == "card"
    assert kind_of_key("SSN") == "ssn"
    for name in ("tokens", "max_tokens", "key", "passenger", "secretary", "card", "author", "password_hint", "x" * 99):
        assert kind_of_key(name) == "", name


def test_a_short_key_is_refused() -> None:
    """A key that could be guessed is no key."""
    with pytest.raises(ValueError, match="16 bytes"):
        Redactor(b"short")
