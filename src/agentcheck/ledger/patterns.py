"""What the redactor looks for: secrets and personal data by their shape, one regular expression per family.

Every expression runs in time linear in the text: quantifiers that could start anew inside their own match are
bounded, or a look-behind lets them start only where a run of their characters starts. Each begins with the
placeholder itself, so that nothing inside a placeholder is ever taken for something else.

Shapes that are too common to redact on sight (nine digits, a lone ``key``) are redacted only where the words beside
them say what they are. IBANs, telephone numbers, names and addresses are not looked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from re import Match, Pattern

#: Families, as bits: which of them a text may hold is found out first (`suspects`), at about 1 µs for a short text.
EMAIL, DIGITS, WORDS, KEYS = 1, 2, 4, 8
ALL = EMAIL | DIGITS | WORDS | KEYS

PLACEHOLDER = r"\[redacted:[a-z_]{2,20}:[0-9a-f]{16}\]"
IS_PLACEHOLDER = re.compile(PLACEHOLDER)

#: ``(kind, value) -> placeholder``
Hide = Callable[[str, str], str]


def _compile(*alternatives: str) -> Pattern[str]:
    return re.compile("|".join((PLACEHOLDER, *alternatives)))


# Secrets that say so: "password=...", "Authorization: Bearer ...", "SSN 123-45-6789"

#: Between a name and its value: quotes and backslashes of the JSON it stands in, blanks, a colon or an equals sign.
_BETWEEN = r"[^a-z0-9:=]{0,40}[:=]"
#: Where a word starts that may name a secret: a literal to look for first, and what follows it, on lower case text.
_SITES = tuple(
    (literal, re.compile(literal + rest))
    for literal, rest in (
        ("pass", rf"[_ -]?(?:word|wd|phrase|code)?{_BETWEEN}"),
        ("pwd", _BETWEEN),
        ("secret", rf"(?:[_ -]?key)?{_BETWEEN}"),
        ("token", _BETWEEN),
        ("api", rf"[_ -]?key{_BETWEEN}"),
        ("private", rf"[_ -]?key{_BETWEEN}"),
        ("access", rf"[_ -]?key{_BETWEEN}"),
        ("account", rf"[_ -]?key{_BETWEEN}"),
        ("signing", rf"[_ -]?key{_BETWEEN}"),
        ("encryption", rf"[_ -]?key{_BETWEEN}"),
        ("auth", rf"(?:orization|[_ -]?key){_BETWEEN}"),
        ("credential", rf"s?{_BETWEEN}"),
        ("bearer", r"\s"),
        ("basic", r"\s{1,4}[\w+/-]{8}"),
        ("ssn", r"(?<![a-z0-9]ssn)[^a-z]"),
        ("social", r"[ _-]?security"),
        ("cookie", _BETWEEN),
        ("card", rf"[_ -]?(?:number)?{_BETWEEN}"),
        ("cvv", rf"2?{_BETWEEN}"),
        ("cvc", _BETWEEN),
    )
)
_SEPARATOR = r"(?:\\{0,16}[\"'])?\]?\s{0,4}(?::=|=>|[:=])\s{0,4}"
_NOT_AGAIN = r"(?!\[redacted:)"
_WORDS = re.compile(
    rf"authorization{_SEPARATOR}\\{{0,16}}[\"']?(?:(?:bearer|basic|digest|token|apikey)\s{{1,4}})?"
    rf"(?!\[redacted:|(?:bearer|basic|digest|token|apikey)\s)(?P<credentials>[^\s\"'\\,;<>\[\]{{}}]{{1,8192}})"
    rf"|(?:bearer|basic)\s{{1,4}}{_NOT_AGAIN}(?P<bearer>[\w.~+/-]{{8,8192}}={{0,2}})"
    r"|(?:pass(?:[_ -]?(?:word|wd|phrase|code))?|pwd|secret|token|credentials?|(?:set-)?cookie"
    rf"|(?:api|secret|private|access|account|auth|signing|encryption)[_ -]?key){_SEPARATOR}"
    rf"(?:\"{_NOT_AGAIN}(?P<double>[^\"\\\n]{{1,1024}})\"|'{_NOT_AGAIN}(?P<single>[^'\\\n]{{1,1024}})'"
    rf"|\\{{1,16}}[\"']{_NOT_AGAIN}(?P<escaped>[^\"'\\\n]{{1,1024}})\\{{1,16}}[\"']"
    rf"|{_NOT_AGAIN}(?![{{\[(<]|\$[{{(])(?P<bare>[^\s\"'\\,;&<>{{}}()\[\]]{{1,1024}}))"
    r"|(?:ssn|social[ _-]?security(?:[ _-]?(?:number|no\.?))?)[^\w\[]{0,8}(?:is\s)?"
    r"(?P<ssn>[0-9]{3}(?P<by>[ .-]?)[0-9]{2}(?P=by)[0-9]{4})(?![0-9])",
    re.IGNORECASE,
)
_USERINFO = _compile(r"(?<=://)(?P<user>[^\s/@:\"'\\\[]{0,128}:)(?P<password>[^\s/@\"'\\\[]{1,256})(?=@)")
_NOTHING = frozenset({"null", "none", "true", "false", "undefined", "nil"})
_VALUES = ("credentials", "bearer", "double", "single", "escaped", "bare", "ssn")


def _sites(lower: str) -> Iterator[int]:
    return (found.start() for literal, rest in _SITES if literal in lower for found in rest.finditer(lower))


def _hide_words(text: str, hide: Hide) -> str:
    lower = text.lower()
    if len(lower) != len(text):  # a few letters become two in lower case; positions must stay
        lower = "".join(letter.lower() if len(letter.lower()) == 1 else letter for letter in text)
    pieces, copied = [], 0
    for site in sorted(set(_sites(lower))):
        if site < copied or (site >= 10 and IS_PLACEHOLDER.match(text, site - 10)):
            continue
        match = _WORDS.match(text, site)
        if match is None:
            continue
        group = next(name for name in _VALUES if match[name] is not None)
        value = match[group]
        if _is_word(group, value):
            continue
        kind = {"credentials": "authorization", "bearer": "authorization", "ssn": "ssn"}.get(group, "secret")
        start, end = match.span(group)
        pieces += [text[copied:start], hide(kind, value)]
        copied = end
    return "".join((*pieces, text[copied:])) if pieces else text


def _is_word(group: str, value: str) -> bool:
    """Whether what stands where a secret may stand is plainly none."""
    if group == "bearer":  # "basic information", "bearer instruments"
        return len(value) < 32 and not any(character.isdigit() for character in value)
    return value.lower() in _NOTHING or not value.strip()


# Keys by the formats of those who issue them

#
# Each holds a run of 16 letters, digits, "_" and "-", by which `suspects` notices it.

_KEYS = _compile(
    r"(?P<private_key>-----BEGIN[^-\n]{0,60}PRIVATE KEY[^-\n]{0,20}-----[^-]*(?:-(?!----)[^-]*)*"
    r"(?:-----END[^-\n]{0,80}-----)?"
    r"|PRIVATE\+KEY\+[^\s+\"'\\]{1,256}\+[0-9a-f]{8}\+[A-Za-z0-9+/]{40,}={0,2})",  # of signed notes (C2SP)
    r"(?P<jwt>(?<![\w-])eyJ[\w-]{13,}\.[\w-]{8,}(?:\.[\w-]*)?)",
    r"(?P<generic>(?<![A-Za-z0-9])(?:sk|rk|pk|key|xai|pplx|tvly|nvapi|gsk|xoxe\.xox[bp])-[\w-]{16,})",
    r"(?P<api_key>(?<![A-Za-z0-9])(?:"
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])"
    r"|gh[opusr]_[A-Za-z0-9]{20,}|github_pat_\w{22,}|gl(?:pat|ptt|dt|rt|cbt|ft|agent|oas|soat|imt)-[\w-]{20,}"
    r"|xox[abceoprs]-[A-Za-z0-9-]{11,}|xapp-\d-[A-Za-z0-9-]{10,}|hooks\.slack\.com/(?:services|workflows)/[\w/]{20,}"
    r"|AIza[\w-]{35}|ya29\.[\w-]{20,}|GOCSPX-[\w-]{20,}"
    r"|[srp]k_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9]{16,}|sq0[a-z]{3}-[\w-]{22,}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"
    r"|npm_[A-Za-z0-9]{36}|pypi-[\w-]{50,}|hf_[A-Za-z0-9]{30,}|gsk_[A-Za-z0-9]{20,}|r8_[A-Za-z0-9]{30,}"
    r"|SG\.[\w-]{16,64}\.[\w-]{16,64}|do[opr]_v1_[a-f0-9]{64}|dckr_pat_[\w-]{20,}|glsa_\w{32,}|lin_api_\w{32,}"
    r"|hv[sbr]\.[\w-]{24,}|sbp_[a-f0-9]{40}|PMAK-[a-f0-9]{24}-[a-f0-9]{34}|AGE-SECRET-KEY-1[A-Z0-9]{50,}"
    r"|\d{8,10}:AA[\w-]{33}(?![\w-])))",
)
#: A token without any of these is none of the keys above.
_KEY_SIGNS = re.compile(
    rb"(?<![A-Za-z0-9])(?:eyJ|(?:sk|rk|pk|key|xai|pplx|tvly|nvapi|gsk)-|A(?:KIA|SIA|BIA|CCA|Iza|GE-)"
    rb"|g(?:h[opusr]_|ithub_pat_|l[a-z]{2,5}-|sk_)|xox|xapp-|ya29\.|GOCSPX-|[srp]k_(?:live|test)_|whsec_|sq0"
    rb"|shp[acps]|npm_|pypi-|hf_|r8_|SG\.|do[opr]_v1_|dckr_|glsa_|lin_api_|hv[sbr]\.|sbp_|PMAK-|[0-9]{8,10}:AA)"
)


def _hide_key(match: Match[str], hide: Hide) -> str:
    group = match.lastgroup
    if group is None:
        return match[0]
    if group == "generic":
        if not any(character.isdigit() for character in match[0]):  # words joined by hyphens
            return match[0]
        group = "api_key"
    return hide(group, match[0])


# E-mail

_EMAIL = _compile(r"(?P<email>(?<![\w.%+-])[\w.%+-]+@(?:[\w-]+\.)+[^\W\d_]{2,24}(?!\w))")


def _hide_email(match: Match[str], hide: Hide) -> str:
    return hide("email", match[0]) if match.lastgroup else match[0]


# Payment cards and social security numbers

#: A run of digits with single blanks or hyphens between them.
_NUMBER = _compile(r"(?P<number>(?<![0-9A-Za-z])[0-9]+(?:[ -][0-9]+)*(?![0-9A-Za-z]))")
_GROUPS = re.compile(r"[0-9]+")
_CARD_GROUPS = ((4, 4, 4, 4), (4, 4, 4, 4, 3), (4, 6, 5), (4, 6, 4))
_CARD = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|3(?:0[0-5]|[689]\d)\d{11}|35(?:2[89]|[3-8]\d)\d{12}|6(?:011|5\d\d|4[4-9]\d|2\d\d)\d{12,15}"
    r"|(?:5018|5020|5038|5893|6304|6759|676[1-3])\d{9,15}"
)
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def is_card(digits: str) -> bool:
    """Whether digits are a payment card number: a known issuer's prefix and length, and the Luhn check digit."""
    if not 13 <= len(digits) <= 19 or not _CARD.fullmatch(digits):
        return False
    numbers = [ord(character) - 48 for character in reversed(digits)]
    return (sum(numbers[::2]) + sum(_DOUBLED[number] for number in numbers[1::2])) % 10 == 0


def is_ssn(digits: str) -> bool:
    """Whether nine digits can be a US social security number (areas, groups and serials that are never issued)."""
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def _hide_numbers(match: Match[str], hide: Hide) -> str:
    if not match.lastgroup:
        return match[0]
    text, whole = match[0], match.string
    groups = [found.span() for found in _GROUPS.finditer(text)]
    # The digits after a decimal point, and those before one, belong to a number with a fraction.
    before, after = whole[max(0, match.start() - 2) : match.start()], whole[match.end() : match.end() + 2]
    first = 1 if len(before) == 2 and before[1] == "." and before[0].isdigit() else 0
    if len(after) == 2 and after[0] == "." and after[1].isdigit():
        groups.pop()
    pieces, copied, at = [], 0, first
    while at < len(groups):
        found = _number_at(text, groups, at)
        if found is None:
            at += 1
            continue
        kind, count = found
        start, end = groups[at][0], groups[at + count - 1][1]
        pieces += [text[copied:start], hide(kind, text[start:end])]
        copied, at = end, at + count
    return "".join((*pieces, text[copied:])) if pieces else text


def _number_at(text: str, groups: list[tuple[int, int]], at: int) -> tuple[str, int] | None:
    """Kind, and number of groups, of the card or social security number that starts with group ``at``."""
    start, end = groups[at]
    if end - start >= 13:
        return ("card", 1) if is_card(text[start:end]) else None
    lengths = tuple(stop - begin for begin, stop in groups[at : at + 5])
    for shape in _CARD_GROUPS:
        if lengths[: len(shape)] == shape:
            stop = groups[at + len(shape) - 1][1]
            if is_card(re.sub("[ -]", "", text[start:stop])):
                return "card", len(shape)
    if lengths[:3] == (3, 2, 4) and text[end] == text[groups[at + 1][1]] == "-":
        stop = groups[at + 2][1]
        alone = text[start - 1 : start] != "-" and text[stop : stop + 1] != "-"
        if alone and is_ssn(text[start:stop].replace("-", "")):
            return "ssn", 3
    return None


# All of it


def _by(pattern: Pattern[str], replace: Callable[[Match[str], Hide], str]) -> Callable[[str, Hide], str]:
    return lambda text, hide: pattern.sub(lambda match: replace(match, hide), text)


_PASSES = (
    (KEYS, _by(_KEYS, _hide_key)),
    (WORDS, _hide_words),
    (EMAIL, _by(_USERINFO, lambda match, hide: match[1] + hide("secret", match[2]) if match.lastgroup else match[0])),
    (EMAIL, _by(_EMAIL, _hide_email)),
    (DIGITS, _by(_NUMBER, _hide_numbers)),
)


def hide_all(text: str, families: int, hide: Hide) -> str:
    """One pass over a text: each finding of the given families replaced by what ``hide`` makes of it."""
    for family, replace in _PASSES:
        if family & families:
            text = replace(text, hide)
    return text


_NAMES = re.compile(
    r"(?:.*(?:password|passwd|passphrase|passcode|secret|token|apikey|secretkey|privatekey|accesskey|accountkey|authkey|signingkey"
    r"|encryptionkey)|pwd|pass|credentials?|authorization|proxyauthorization|cookie|setcookie)"
)
_CARD_NAMES = frozenset(
    {"cardnumber", "creditcard", "creditcardnumber", "debitcardnumber", "pan", "cvv", "cvc", "cvv2"}
)
_SSN_NAMES = frozenset({"ssn", "socialsecuritynumber", "socialsecurity", "socialsecurityno", "usssn"})
_NOT_IN_NAMES = re.compile(r"[^a-z0-9]")


def kind_of_key(name: str) -> str:
    """What the value under a key of an object is, by the key's name: ``secret``, ``card``, ``ssn`` or nothing."""
    if len(name) > 64:
        return ""
    plain = _NOT_IN_NAMES.sub("", name.lower())
    if _NAMES.fullmatch(plain):
        return "secret"
    if plain in _CARD_NAMES:
        return "card"
    return "ssn" if plain in _SSN_NAMES else ""


# The quick look

_DIGIT_VIEW = bytes(0x30 if chr(code) in "0123456789" else 0x2D if chr(code) in " -." else 0x78 for code in range(256))
_TOKEN_VIEW = bytes(0x78 if code < 128 and (chr(code).isalnum() or chr(code) in "_-") else 0x20 for code in range(256))
_LONG_TOKEN = b"x" * 16
_LONG_NUMBER = b"0" * 13
#: The ends of the names in `_SITES` with what may stand between them and a value. Ends instead of whole names, each
#: beginning with a letter: the engine then skips from candidate to candidate, twice as fast as with the names.
_NAME_ENDS = re.compile(
    r"(?:word|wd|phrase|code|pass|secret|token|key(?:(?<=[ieshtgn]key)|(?<=[ieshtgn][_ -]key))|tials?|orization|cookie"
    r"|card|number(?:(?<=cardnumber)|(?<=card[_ -]number))|cvv2?|cvc|pan)[ \t\r\n\"'\\\]_.*/#!?:-]{0,40}[:=]"
)


def suspects(text: str) -> int:
    """The families a text may hold (never one too few), by a few scans over its bytes.

    Escapes (``\\u0040``) can hide any character from the scans, so a text with one is suspected of everything.
    """
    if "\\" in text and "\\u" in text:
        return ALL
    families = EMAIL if "@" in text else 0
    data = text.encode("utf-8", "replace")
    digits = data.translate(_DIGIT_VIEW)
    lower = text.lower()
    nine = b"000000000" in digits
    if b"000-00-0000" in digits:
        families |= DIGITS
        nine = True
    elif b"0000-0000" in digits or (nine and _holds_card(data, digits)):
        families |= DIGITS
    if nine and ("ssn" in lower or "social" in lower):
        families |= WORDS
    if _NAME_ENDS.search(lower) or "bearer" in lower or "basic " in lower:
        families |= WORDS
    tokens = data.translate(_TOKEN_VIEW)
    if (_LONG_TOKEN in tokens and _holds_key(data, tokens)) or "PRIVATE KEY" in text or "PRIVATE+KEY+" in text:
        families |= KEYS
    return families


def _holds_card(data: bytes, digits: bytes) -> bool:
    """Whether one of the long numbers is a card's."""
    start = digits.find(_LONG_NUMBER)
    while start >= 0:
        end = start + len(_LONG_NUMBER)
        while digits[end : end + 1] == b"0":
            end += 1
        if end - start <= 19 and is_card(data[start:end].decode()):
            return True
        start = digits.find(_LONG_NUMBER, end)
    return False


def _holds_key(data: bytes, tokens: bytes) -> bool:
    """Whether one of the long tokens, with the few characters before it, may be a key."""
    if b"hooks.slack" in data:
        return True
    start = tokens.find(_LONG_TOKEN)
    while start >= 0:
        end = tokens.find(b" ", start)
        end = len(data) if end < 0 else end
        if _KEY_SIGNS.search(data, max(0, start - 12), end):
            return True
        start = tokens.find(_LONG_TOKEN, end)
    return False
