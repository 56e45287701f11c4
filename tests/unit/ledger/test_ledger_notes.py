"""Signed notes: Go's published key and note, signatures checked by another path, and each way of being malformed."""

from __future__ import annotations

import base64
import stat
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agentcheck.errors import LedgerError, MissingExtra, UserError
from agentcheck.ledger.notes import (
    COSIGNATURE,
    ED25519,
    Note,
    SigningKey,
    checkpoint,
    generate,
    parse,
    public_key,
    read_key,
    sign_checkpoint,
    signatures,
    split,
    write_key,
)

#: The example of golang.org/x/mod/sumdb/note; Ed25519 is deterministic, so the signature can be compared.
GO_PRIVATE = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_PUBLIC = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_OTHER = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETER = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
ENOCH = "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
#: The example of C2SP tlog-cosignature.
COSIGNED = (
    "example.com/behind-the-sofa\n"
    "20852163\n"
    "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    "\n"
    "— example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "— witness.example.com/w1 "
    "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)
KEY = SigningKey("example.org/acme", sha256(b"a key for tests").digest())
ROOT = sha256(b"").digest()


def made(**fields: object) -> str:
    """A checkpoint of ours."""
    given = {"run": "r", "stream": "main", "size": 7, "root": ROOT, "time": 1_700_000_000, **fields}
    return sign_checkpoint(KEY, **given)  # type: ignore[arg-type]


def test_the_published_key_signs_the_published_note() -> None:
    """Go's private key gives Go's public key and, byte for byte, Go's note."""
    key = read_key(GO_PRIVATE)
    assert (key.text(), str(key.public())) == (GO_PRIVATE, GO_PUBLIC)
    assert str(Note(TEXT, (key.sign(TEXT),))) == f"{TEXT}\n{PETER}"
    assert GO_PRIVATE[-20:] not in repr(key)


def test_published_signatures_verify() -> None:
    """Both signatures of Go's note verify by their keys, and neither by the other's or over another text."""
    note = parse(f"{TEXT}\n{PETER}{ENOCH}")
    assert str(note) == f"{TEXT}\n{PETER}{ENOCH}"
    for text in (GO_PUBLIC, GO_OTHER):
        key = public_key(text, ED25519)
        assert key.time_of(note) == 0
        assert key.time_of(note._replace(text=TEXT + "x\n")) is None
        assert key.time_of(note._replace(signatures=())) is None


def test_the_published_cosignature_has_its_time() -> None:
    """The example of tlog-cosignature is a checkpoint whose witness line holds the time of the specification."""
    found = checkpoint(COSIGNED)
    assert (found.origin, found.size) == ("example.com/behind-the-sofa", 20852163)
    witness = found.note.signatures[1]
    assert (witness.name, len(witness.value)) == ("witness.example.com/w1", 72)
    assert int.from_bytes(witness.value[:8], "big") == 1679315147
    assert str(found.note) == COSIGNED


def test_a_checkpoint_has_two_signatures_of_its_key() -> None:
    """A checkpoint's lines are origin, size and root; both signatures verify with `cryptography` alone."""
    text = made()
    assert text.startswith(f"example.org/acme/r/main\n7\n{base64.b64encode(ROOT).decode()}\n\n— example.org/acme ")
    found = checkpoint(text)
    assert found[:3] == ("example.org/acme/r/main", 7, ROOT)
    plain, timed = found.note.signatures
    key = Ed25519PublicKey.from_public_bytes(KEY.public().key)
    key.verify(plain.value, found.note.text.encode())
    key.verify(timed.value[8:], b"cosignature/v1\ntime 1700000000\n" + found.note.text.encode())
    ids = [sha256(b"example.org/acme\n" + bytes([kind]) + KEY.public().key).digest()[:4] for kind in (1, 4)]
    assert [plain.key_id, timed.key_id] == ids
    assert KEY.public(COSIGNATURE).time_of(found.note) == 1_700_000_000


def test_a_changed_time_is_no_signature() -> None:
    """A cosignature of which the time is changed does not verify."""
    found = checkpoint(made())
    timed = found.note.signatures[1]
    later = timed._replace(value=(1_700_000_001).to_bytes(8, "big") + timed.value[8:])
    assert KEY.public(COSIGNATURE).time_of(found.note._replace(signatures=(later,))) is None
    for cut in (0, 7, 40):
        short = timed._replace(value=timed.value[:cut])
        assert KEY.public(COSIGNATURE).time_of(found.note._replace(signatures=(short,))) is None


def test_a_name_alone_or_an_id_alone_is_another_key() -> None:
    """A line that shares only the name or only the id of a key is not that key's."""
    found = checkpoint(made()).note
    for other in (found.signatures[0]._replace(name="example.org/other"), found.signatures[0]._replace(key_id=b"abcd")):
        assert KEY.public().time_of(found._replace(signatures=(other,))) is None


@pytest.mark.parametrize(
    ("text", "where", "why"),
    [
        ("", "line 1", "no text, blank line and signatures"),
        (TEXT, "line 2", "no text, blank line and signatures"),
        (f"{TEXT}\n", "line 3", "no signature follows"),
        (f"{TEXT}\n{PETER[:-1]}", "line 4", "does not end in a newline"),
        (f"\x01{TEXT}\n{PETER}", "line 1", "U\\+0001 may not stand in a note"),
        (TEXT.replace("\n", "\r\n") + f"\n{PETER}", "line 1", "U\\+000D may not"),
        (f"{TEXT[:-1]}\t\n\n{PETER}", "line 2", "U\\+0009 may not"),
        (f"{TEXT}\n{PETER}Unexpected line.\n", "line 5", "not a signature line"),
        (f"{TEXT}\n{PETER.replace('PeterNeumann', 'Peter Neumann')}", "line 4", "not an id and a signature"),
        (f"{TEXT}\n{PETER.replace('PeterNeumann', 'a+b')}", "line 4", "not a signature line"),
        (f"{TEXT}\n{PETER.replace('— ', '- ')}", "line 4", "not a signature line"),
        (f"{TEXT}\n{PETER.replace('AM=', 'AN=')}", "line 4", "in base64"),  # bits beyond the last byte
        (f"{TEXT}\n{PETER.replace('AM=', 'AM')}", "line 4", "in base64"),
        (f"{TEXT}\n{PETER.replace('x08go/', 'x08go_')}", "line 4", "in base64"),
        (f"{TEXT}\n— a AAAAAA==\n", "line 4", "not an id and a signature"),
        (f"{TEXT}\n{PETER * 101}", "line 104", "more than 100 signatures"),
        (f"\n{PETER}", "line 1", "no text"),
        (f"{TEXT}\ud800\n\n{PETER}", "line 3", "U\\+D800 may not"),
        ("x" * 1_000_001, "", "longer than"),
    ],
)
def test_what_is_no_note(text: str, where: str, why: str) -> None:
    """Each way in which a text is no signed note is refused, and the line is named."""
    with pytest.raises(LedgerError, match=why) as caught:
        parse(text)
    assert caught.value.where == where


@pytest.mark.parametrize(
    ("lines", "where"),
    [
        (["a/r/main", "07", "ROOT"], "line 2"),
        (["a/r/main", "+7", "ROOT"], "line 2"),
        (["a/r/main", "-7", "ROOT"], "line 2"),
        (["a/r/main", "７", "ROOT"], "line 2"),
        (["a/r/main", "7 ", "ROOT"], "line 2"),
        (["a/r/main", str(1 << 63), "ROOT"], "line 2"),
        (["a/r/main", "7", "ROOT="], "line 3"),
        (["a/r/main", "7", base64.b64encode(ROOT[:31]).decode()], "line 3"),
        (["a/r/main", "7", base64.b64encode(ROOT + b"x").decode()], "line 3"),
        (["a/r/main", "7", base64.b64encode(ROOT).decode()[:-2] + "V="], "line 3"),
        (["a/r/main", "7"], "line 3"),
        (["", "a/r/main", "7", "ROOT"], "line 1"),
        (["a/r/main", "7", "ROOT", "", "extension"], "line 4"),
    ],
)
def test_what_is_no_checkpoint(lines: list[str], where: str) -> None:
    """Each way in which a signed note is no checkpoint is refused, and the line is named."""
    text = "".join(f"{line}\n" for line in lines).replace("ROOT", base64.b64encode(ROOT).decode())
    with pytest.raises(LedgerError) as caught:
        checkpoint(str(Note(text, (KEY.sign(text),))))
    assert caught.value.where == where


def test_the_largest_size_and_extension_lines_are_read() -> None:
    """Sizes up to 2**63 - 1 and extension lines of other logs are read."""
    assert checkpoint(made(size=(1 << 63) - 1)).size == (1 << 63) - 1
    assert checkpoint(made(size=0)).size == 0
    text = checkpoint(made()).note.text + "an extension\n"
    assert checkpoint(str(Note(text, (KEY.sign(text),)))).note.text == text


def test_notes_one_after_another_are_told_apart() -> None:
    """Several notes in one text, with and without blank lines between them, come back as they were."""
    notes = [made(size=size) for size in range(1, 4)] + [f"{TEXT}\n{PETER}{ENOCH}"]
    assert split("".join(notes)) == split("\n".join(notes)) == split("\n\n" + "\n\n\n".join(notes) + "\n\n") == notes
    assert split("") == split("\n\n") == []
    assert split(f"{notes[0]}half a note") == [notes[0], "half a note"]


def test_signature_lines_alone() -> None:
    """What a witness answers with is read line by line; anything else is refused by its line."""
    assert "".join(each.line for each in signatures(PETER + ENOCH)) == PETER + ENOCH
    for text, where in (("", "line 1"), (PETER[:-1], "line 1"), (f"{PETER}\n", "line 2"), (f"{PETER}x\n", "line 2")):
        with pytest.raises(LedgerError) as caught:
            signatures(text)
        assert caught.value.where == where


def test_manglings_of_a_key_are_refused() -> None:
    """No part of a key's text and no text with one letter changed is read as a key."""
    for text, read in ((GO_PUBLIC, lambda each: public_key(each, ED25519)), (GO_PRIVATE, read_key)):
        for start in range(len(text) + 1):
            for end in range(start + 1, len(text) + 1, 3):
                if (start, end) != (0, len(text)):
                    with pytest.raises((LedgerError, UserError)):
                        read(text[start:end])
        for place in range(len(text)):
            with pytest.raises((LedgerError, UserError)):
                read(text[:place] + chr(ord(text[place]) + 1) + text[place + 1 :])


def test_keys_of_another_type_are_refused() -> None:
    """A witness's key is none of a log, and the other way round; unknown types are refused."""
    witness = str(KEY.public(COSIGNATURE))
    assert public_key(witness, COSIGNATURE) == KEY.public(COSIGNATURE)
    with pytest.raises(LedgerError, match="of the type 0x04, and 0x01 is needed"):
        public_key(witness, ED25519)
    with pytest.raises(LedgerError, match="of the type 0x65"):
        public_key("PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", ED25519)


def test_a_key_is_written_once_and_for_its_owner_only(tmp_path: Path) -> None:
    """A key's file is readable by its owner only, is never overwritten, and gives the key back."""
    key, file = generate("example.org/new"), tmp_path / "keys" / "log.key"
    write_key(key, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_key(str(file)) == read_key(key.text()) == key
    with pytest.raises(UserError, match="the file exists"):
        write_key(generate("example.org/new"), file)
    assert read_key(str(file)) == key
    assert generate("example.org/new") != key


def test_what_is_given_as_a_key_is_not_shown(tmp_path: Path) -> None:
    """A damaged private key is refused without its text; a missing file is named."""
    with pytest.raises(UserError) as caught:
        read_key(GO_PRIVATE[:-1])
    assert "AYEKFALV" not in str(caught.value)
    with pytest.raises(UserError, match="neither a private key nor the path of one"):
        read_key(str(tmp_path / "none"))
    file = tmp_path / "note"
    file.write_text(GO_PUBLIC)
    with pytest.raises(UserError, match="does not begin with PRIVATE"):
        read_key(str(file))
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not a text file"):
        read_key(str(file))


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\nb", "a#b", "a\x07"])
def test_names_that_no_key_can_have(name: str) -> None:
    """A name that would break a note or a trust file is refused."""
    with pytest.raises(UserError, match="is no name for a key"):
        generate(name)


def test_signing_without_cryptography_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `cryptography` is not installed, the extra to install is named."""
    for name in [each for each in sys.modules if each.startswith("cryptography")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra) as caught:
        made()
    assert caught.value.extra == "signing"
