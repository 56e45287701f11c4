"""The address of a store (``AGENTCHECK_STORE``): read, compared, kept without its password, shown without its login.

Read as libpq reads it: ``scheme://[user[:password]@]hosts[/database][?parameters]``, where the first ``@`` before a
``/`` ends the credentials. A character that this form gives a meaning must be percent-encoded in a password; where
it is not, the address is refused without being repeated, since nobody can tell which part of it is the secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import unquote

from agentcheck.errors import UserError

#: Parameters that hold a secret; what names a file that holds one (``passfile``) does not.
_SECRET = re.compile(r"(?:ssl)?passw(?:or)?d|secret|token|api_?key", re.IGNORECASE)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?")
#: Names that mean the same, and the port that is meant where none is given.
_SAME = {"postgres": "postgresql"}
_PORTS = {"postgresql": "5432"}


@dataclass(frozen=True)
class Address:
    """The parts of an address, as written (percent-encoded)."""

    scheme: str
    user: str = ""
    password: str | None = None
    hosts: str = ""
    path: str = ""
    parameters: tuple[str, ...] = ()

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret that the address holds, as written and decoded."""
        held = [self.password or ""]
        held += [value for name, _, value in map(_pair, self.parameters) if _SECRET.fullmatch(name)]
        return tuple({form for secret in held for form in (secret, unquote(secret)) if form})

    def without_password(self) -> Address:
        """The same address without any secret, as it may be kept."""
        kept = tuple(each for each in self.parameters if not _SECRET.fullmatch(_pair(each)[0]))
        return replace(self, password=None, parameters=kept)

    @property
    def shown(self) -> str:
        """Server and database, as messages name them: ``user@host`` would look like an e-mail, which is redacted."""
        return str(replace(self.without_password(), user=""))

    @property
    def database(self) -> str:
        """The name of the database, as written; empty where none is given."""
        given = {name: value for name, _, value in map(_pair, self.parameters)}
        return given.get("dbname") or self.path.lstrip("/")

    def names_same_place(self, other: Address) -> bool:
        """Whether both name the same server and database, whoever logs in and however."""
        return self._place() == other._place()

    def _place(self) -> tuple[str, ...]:
        scheme = _SAME.get(self.scheme, self.scheme)
        given = {name: value for name, _, value in map(_pair, self.parameters)}
        hosts = []
        for host in (given.get("host") or self.hosts).split(","):
            name, colon, port = host.rpartition(":") if re.search(r":\d*$", host) else (host, "", "")
            hosts.append(f"{unquote(name or '' if colon else host).lower()}:{port or _PORTS.get(scheme, '')}")
        port = given.get("port", "")
        return (scheme, ",".join(hosts), port.removeprefix(_PORTS.get(scheme, "")), unquote(self.database))

    def __str__(self) -> str:
        password = "" if self.password is None else f":{self.password}"
        login = f"{self.user}{password}@" if self.user or password else ""
        query = f"?{'&'.join(self.parameters)}" if self.parameters else ""
        return f"{self.scheme}://{login}{self.hosts}{self.path}{query}"


def read_address(text: str, *, where: str) -> Address:
    """The parts of an address; ``where`` is the variable or file that it comes from.

    Raises:
        UserError: it is no address, or where its password ends cannot be told. The address is never repeated.
    """
    found = _SCHEME.match(text)
    if found is None or any(char.isspace() for char in text):
        raise UserError(
            "the address of the store cannot be read",
            where=where,
            advice="write it as postgresql://user@host:5432/database, or leave it out for SQLite",
        )
    rest = text[found.end() :]
    login, at, after = rest.partition("@")
    if not at or "/" in login:
        login, after = "", rest
    if "@" in after:
        raise UserError(
            "the address of the store has an '@' too many",
            where=where,
            advice="percent-encode user, password and parameters: @ is %40, / is %2F, : is %3A, ? is %3F",
        )
    user, colon, password = login.partition(":")
    place, _, query = after.partition("?")
    hosts, slash, path = place.partition("/")
    parameters = tuple(part for part in query.split("&") if part)
    return Address(found[1].lower(), user, password if colon else None, hosts, slash + path, parameters)


def _pair(parameter: str) -> tuple[str, str, str]:
    name, equals, value = parameter.partition("=")
    return unquote(name), equals, value
