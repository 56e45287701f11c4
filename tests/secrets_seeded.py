"""Two hundred and more secrets, made at run time from a seed, of every kind that the redactor claims to find.

No literal key stands here: every issuer's format is put together from parts and random characters, the same on every
run. Beside each secret stands a *marker*, a word that is no secret, by which a test sees that a path was really taken.
"""

from __future__ import annotations

import base64
import html
import json
import random
import re
import string
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

ALNUM = string.ascii_letters + string.digits
UPPER = string.ascii_uppercase + string.digits
LOWER = string.ascii_lowercase + string.digits
HEX = "0123456789abcdef"
URL64 = ALNUM + "_"


class Random(random.Random):
    """Random characters, of which at least one is a letter and one a digit."""

    def word(self, length: int, alphabet: str = ALNUM) -> str:
        """So many characters of an alphabet."""
        while True:
            found = "".join(self.choices(alphabet, k=length))
            if any(c.isdigit() for c in found) and any(c.isalpha() for c in found):
                return found

    def digits(self, length: int) -> str:
        """So many digits, the first of which is not zero."""
        return self.choice("123456789") + "".join(self.choices(string.digits, k=length - 1))


#: Issuers' formats: what stands before the random part, and the random part.
_KEYS: Mapping[str, Callable[[Random], str]] = {
    "openai": lambda r: f"{'sk'}-{r.word(32)}",
    "openai project": lambda r: f"{'sk'}-proj-{r.word(48, URL64)}",
    "anthropic": lambda r: f"{'sk'}-ant-api03-{r.word(60, URL64)}",
    "xai": lambda r: f"{'xai'}-{r.word(40)}",
    "perplexity": lambda r: f"{'pplx'}-{r.word(40)}",
    "tavily": lambda r: f"{'tvly'}-{r.word(24)}",
    "nvidia": lambda r: f"{'nvapi'}-{r.word(40)}",
    "mailgun": lambda r: f"{'key'}-{r.word(32, HEX)}",
    "aws": lambda r: f"{'AKIA'}{r.word(16, UPPER)}",
    "aws temporary": lambda r: f"{'ASIA'}{r.word(16, UPPER)}",
    "github": lambda r: f"{'gh'}{r.choice('opusr')}_{r.word(36)}",
    "github fine": lambda r: f"{'github'}_pat_{r.word(22)}_{r.word(50)}",
    "gitlab": lambda r: f"{'gl'}pat-{r.word(20)}",
    "gitlab deploy": lambda r: f"{'gl'}dt-{r.word(20)}",
    "slack bot": lambda r: f"{'xo'}xb-{r.digits(12)}-{r.word(24)}",
    "slack app": lambda r: f"{'xa'}pp-1-{r.word(10, UPPER)}-{r.digits(12)}-{r.word(40, HEX)}",
    "slack hook": lambda r: f"{'hooks.slack'}.com/services/T{r.word(8, UPPER)}/B{r.word(8, UPPER)}/{r.word(24)}",
    "google": lambda r: f"{'AI'}za{r.word(35, URL64)}",
    "google oauth": lambda r: f"{'ya29'}.{r.word(60, URL64)}",
    "google client": lambda r: f"{'GOC'}SPX-{r.word(28, URL64)}",
    "stripe": lambda r: f"{'sk'}_live_{r.word(24)}",
    "stripe restricted": lambda r: f"{'rk'}_test_{r.word(24)}",
    "stripe hook": lambda r: f"{'wh'}sec_{r.word(32)}",
    "square": lambda r: f"{'sq0'}atp-{r.word(22, URL64)}",
    "shopify": lambda r: f"{'shp'}at_{r.word(32, HEX)}",
    "npm": lambda r: f"{'np'}m_{r.word(36)}",
    "pypi": lambda r: f"{'py'}pi-{r.word(80, URL64)}",
    "hugging face": lambda r: f"{'h'}f_{r.word(34)}",
    "groq": lambda r: f"{'gs'}k_{r.word(48)}",
    "replicate": lambda r: f"{'r'}8_{r.word(37)}",
    "sendgrid": lambda r: f"{'S'}G.{r.word(22)}.{r.word(43)}",
    "digital ocean": lambda r: f"{'do'}p_v1_{r.word(64, HEX)}",
    "docker": lambda r: f"{'dc'}kr_pat_{r.word(27)}",
    "grafana": lambda r: f"{'gl'}sa_{r.word(32)}_{r.word(8, HEX)}",
    "linear": lambda r: f"{'li'}n_api_{r.word(40)}",
    "vault": lambda r: f"{'hv'}s.{r.word(40, URL64)}",
    "supabase": lambda r: f"{'sb'}p_{r.word(40, HEX)}",
    "postman": lambda r: f"{'PM'}AK-{r.word(24, HEX)}-{r.word(34, HEX)}",
    "age": lambda r: f"{'AGE'}-SECRET-KEY-1{r.word(58, UPPER)}",
    "telegram": lambda r: f"{r.digits(9)}:{'AA'}{r.word(33)}",
}


def _jwt(r: Random) -> str:
    parts = ({"alg": "HS256", "typ": "JWT"}, {"sub": r.word(12), "iat": int(r.digits(10))})
    head, body = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    return f"{head}.{body}.{r.word(43, URL64)}"


def _pem(r: Random) -> str:
    label = r.choice(("RSA ", "EC ", "OPENSSH ", "ENCRYPTED ", ""))
    lines = "\n".join(r.word(48) for _ in range(3))
    return f"-----{'BEGIN'} {label}PRIVATE KEY-----\n{lines}\n-----{'END'} {label}PRIVATE KEY-----"


def _password(r: Random) -> str:
    return f"{r.word(9)}{r.choice('!%+*~')}{r.word(7)}"


def _email(r: Random) -> str:
    return f"{r.word(9, LOWER)}.{r.word(7, LOWER)}@{r.word(8, LOWER)}.example.{r.choice(('org', 'com', 'de'))}"


def _card(r: Random, prefix: str = "4", length: int = 16) -> str:
    digits = prefix + "".join(r.choices(string.digits, k=length - len(prefix) - 1))
    double = [int(d) for d in reversed(digits)]
    total = sum(sum(divmod(2 * d, 10)) if place % 2 == 0 else d for place, d in enumerate(double))
    return digits + str(-total % 10)


def _grouped(digits: str, by: str) -> str:
    sizes = (4, 6, 5) if len(digits) == 15 else (4, 4, 4, 4)
    pieces, at = [], 0
    for size in sizes:
        pieces.append(digits[at : at + size])
        at += size
    return by.join(pieces)


def _ssn(r: Random, by: str = "-") -> str:
    return f"{r.randint(100, 665)}{by}{r.randint(10, 99)}{by}{r.randint(1000, 9999)}"


#: In text: kind -> (what makes the secret, how it stands in a text).
_IN_TEXT: Mapping[str, tuple[Callable[[Random], str], str]] = {
    **{f"key of {name}": (make, "{}") for name, make in _KEYS.items()},
    "jwt": (_jwt, "{}"),
    "private key": (_pem, "{}"),
    "authorization bearer": (lambda r: r.word(40), "Authorization: Bearer {}"),
    "authorization basic": (lambda r: base64.b64encode(_password(r).encode()).decode(), "Authorization: Basic {}"),
    "bearer": (lambda r: r.word(24), "sent Bearer {} to it"),
    "cookie": (lambda r: r.word(24), "Set-Cookie: {}; Path=/"),
    "password in prose": (_password, "the password: {} was set"),
    "token in prose": (lambda r: r.word(20), "its token = {} expires"),
    "passphrase quoted": (_password, "passphrase='{}'"),
    "variable": (_password, "DB_PASSWORD={}"),
    "credential": (_password, "credentials: {}"),
    "token in a query": (lambda r: r.word(22), "https://api.example.org/v1?page=2&access_token={}&size=3"),
    "password in an address": (lambda r: r.word(18), "postgres://app:{}@db.example.org:5432/x"),
    "json text": (lambda r: r.word(18), 'body {{"user": "ann", "client_secret": "{}"}}'),
    "email": (_email, "{}"),
    "card visa": (_card, "card {}"),
    "card mastercard": (lambda r: _card(r, f"5{r.randint(1, 5)}"), "paid with {}."),
    "card amex": (lambda r: _card(r, "37", 15), "{}"),
    "card with blanks": (lambda r: _grouped(_card(r), " "), "{}"),
    "card with hyphens": (lambda r: _grouped(_card(r, "6011"), "-"), "{}"),
    "amex with blanks": (lambda r: _grouped(_card(r, "34", 15), " "), "{}"),
    "ssn": (_ssn, "{}"),
    "ssn in words": (lambda r: _ssn(r, " "), "social security number: {}"),
    "ssn nine digits": (lambda r: _ssn(r, ""), "SSN {}"),
}
#: As a value of JSON: kind -> (what makes the secret, the key that says what it is; none where it is an integer).
_IN_JSON: Mapping[str, tuple[Callable[[Random], str], str]] = {
    "key password": (_password, "password"),
    "key db_password": (_password, "db_password"),
    "key apiKey": (lambda r: r.word(20), "apiKey"),
    "key access-token": (lambda r: r.word(20), "access-token"),
    "key Authorization": (lambda r: f"Token {r.word(20)}", "Authorization"),
    "key cookie": (lambda r: r.word(24), "cookie"),
    "key ssn": (lambda r: _ssn(r, ""), "ssn"),
    "key card_number": (_card, "card_number"),
    "integer card": (_card, "reference"),
}
KINDS = (*_IN_TEXT, *_IN_JSON)


@dataclass(frozen=True)
class Seed:
    """One secret with its marker; ``text`` is how both stand in a text, ``value`` how they stand in JSON."""

    number: int
    kind: str
    marker: str
    secret: str
    bare: str
    value: Any

    @property
    def text(self) -> str:
        """Marker and secret in a text."""
        return f"{self.marker} {self.bare}"

    def stands_in(self, data: bytes) -> list[str]:
        """The forms in which the secret stands in something that was written, and what stands before it."""
        found = ((form, self._place(needle, data)) for form, needle in self.needles.items())
        return [f"{form}, after {data[max(0, at - 60) : at]!r}" for form, at in found if at >= 0]

    def _place(self, needle: bytes, data: bytes) -> int:
        at = data.find(needle)
        while at >= 0:
            around = data[max(0, at - 1) : at] + data[at + len(needle) : at + len(needle) + 1]
            # Hashes and times hold digits too: a number is one only where it stands alone.
            if not (needle.translate(None, b" -").isdigit() and re.search(rb"[0-9A-Za-z]", around)):
                return at
            at = data.find(needle, at + 1)
        return -1

    @cached_property
    def needles(self) -> Mapping[str, bytes]:
        """What must stand nowhere: the secret in each form that a path could give it."""
        found: dict[bytes, str] = {}
        for name, text in self._forms():
            found.setdefault(text.encode(), name)
        return {name: data for data, name in found.items()}

    def _forms(self) -> Iterator[tuple[str, str]]:
        for name, part in self._parts():
            yield name, part
            yield f"{name}, JSON", json.dumps(part)[1:-1]
            yield f"{name}, JSON in JSON", json.dumps(json.dumps(part))[3:-3]
            yield f"{name}, HTML", html.escape(part)
            yield f"{name}, XML", html.escape(part).replace("&#x27;", "'").replace("\n", "&#10;")
            yield f"{name}, in an address", urllib.parse.quote(part, safe="")
            yield f"{name}, in a form", urllib.parse.quote_plus(part)
            yield f"{name}, repr", repr(part)[1:-1]
            for shift in range(3):  # where it stands in what was encoded decides how it looks
                whole = base64.b64encode(b"\0" * shift + part.encode()).decode()
                core = whole[4 if shift else 0 : -4]
                if len(core) >= 8:
                    yield f"{name}, base64 at {shift}", core
            yield f"{name}, hexadecimal", part.encode().hex()

    def _parts(self) -> Iterator[tuple[str, str]]:
        yield "plain", self.secret
        if "\n" in self.secret:
            for number, line in enumerate(self.secret.split("\n")[1:-1], 1):
                yield f"line {number}", line
        if self.kind.startswith(("card with", "amex with")):
            yield "digits", re.sub(r"\D", "", self.secret)
        if self.kind == "email":
            yield "name", self.secret.partition("@")[0]


@lru_cache(maxsize=1000)
def seed(number: int) -> Seed:
    """The secret of this number, always the same one."""
    random = Random(f"agentcheck/{number}")
    kind = KINDS[number % len(KINDS)]
    marker = f"heron{number:04d}{''.join(random.choices(string.ascii_lowercase, k=4))}"
    if kind in _IN_TEXT:
        make, around = _IN_TEXT[kind]
        secret = make(random)
        bare = around.format(secret)
        return Seed(number, kind, marker, secret, bare, f"{marker} {bare}")
    make, key = _IN_JSON[kind]
    secret = make(random)
    value: Any = int(secret) if kind in ("integer card", "key ssn") else secret
    return Seed(number, kind, marker, secret, json.dumps({key: value}), {"note": marker, key: value})


def fits_a_line(found: Seed) -> bool:
    """Whether a path that takes one line of plain characters can carry it."""
    return "\n" not in found.secret
