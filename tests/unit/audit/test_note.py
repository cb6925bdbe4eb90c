"""Notes, keys and checkpoints: the specification's worked example, round trips, forgeries."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.audit import note
from appliance.core.errors.audit import AuditNoteInvalidError

SEED = bytes(range(32))
SIGNER = note.SeedSigner(SEED)
LOG = note.Verifier("log.example/one", SIGNER.public_key)
WITNESS = note.SeedSigner(b"w" * 32)
WITNESS_KEY = note.Verifier("witness.example/w1", WITNESS.public_key, note.COSIGNATURE)
CHECKPOINT = note.Checkpoint("log.example/one", 7, b"\x07" * 32)

# c2sp.org/signed-note, section "Example"
WORKED_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
WORKED_NOTE = (
    "This is an example message.\n\n"
    "\u2014 example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3"
    "mFXmRKuwHjG1Yu72IneyaQM=\n"
)


def signed(checkpoint: note.Checkpoint = CHECKPOINT) -> note.Note:
    return note.Note(checkpoint.text, (note.sign(checkpoint.text, LOG.name, SIGNER),))


def test_the_worked_example_of_the_specification_verifies() -> None:
    key = note.Verifier.parse(WORKED_KEY)
    parsed = note.Note.parse(WORKED_NOTE.encode())
    assert key.vkey == WORKED_KEY
    assert note.verified(parsed, [key]) == [(key, parsed.signatures[0])]
    assert parsed.text == "This is an example message.\n"
    assert parsed.encode() == WORKED_NOTE.encode()


def test_the_worked_example_with_one_letter_changed_does_not() -> None:
    key = note.Verifier.parse(WORKED_KEY)
    changed = note.Note.parse(WORKED_NOTE.replace("an example", "no example").encode())
    with pytest.raises(AuditNoteInvalidError, match="does not verify"):
        note.verified(changed, [key])


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "name",
        WORKED_KEY.replace("530d903a", "530d903b"),
        WORKED_KEY.replace("example.com/foo", "example.com/bar"),
        WORKED_KEY[:-1] + "l",
        WORKED_KEY + "AA",
        "a b+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
    ],
)
def test_a_wrong_key_string_is_refused(vkey: str) -> None:
    with pytest.raises(AuditNoteInvalidError):
        note.Verifier.parse(vkey)


def test_a_private_key_string_reads_back_and_its_error_does_not_repeat_it() -> None:
    skey = note.encode_skey("log.example/one", SEED)
    verifier, signer = note.parse_skey(skey)
    assert (verifier, signer.seed) == (LOG, SEED)
    with pytest.raises(AuditNoteInvalidError) as caught:
        note.parse_skey(skey.replace("log.example", "other.example"))
    assert skey.rsplit("+", 1)[1] not in str(caught.value)
    with pytest.raises(AuditNoteInvalidError):
        note.parse_skey("PRIVATE+KEY+x")


@given(
    st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=40),
    st.integers(0, 1 << 62),
    st.binary(min_size=32, max_size=32),
)
def test_a_checkpoint_reads_back(origin: str, size: int, root: bytes) -> None:
    checkpoint = note.Checkpoint(origin, size, root)
    assert note.Checkpoint.parse(checkpoint.text) == checkpoint
    again = note.Note.parse(
        note.Note(checkpoint.text, (note.sign(checkpoint.text, "k", SIGNER),)).encode()
    )
    assert again.text == checkpoint.text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "o\n7\n",
        "o\n07\n" + "A" * 43 + "=\n",
        "o\n-7\n" + "A" * 43 + "=\n",
        "o\n7\n" + "A" * 42 + "==\n",
        "o\n7\nAA==\n",
        "o\n7\n" + "A" * 43 + "=\n\nx\n",
        "\n7\n" + "A" * 43 + "=\n",
        "o\n7\n" + "A" * 42 + "B=\n",
        "o\n9223372036854775807\n" + "A" * 43 + "=\n",
        "o\n7\n" + "A" * 43 + "=",
    ],
)
def test_another_spelling_of_a_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(AuditNoteInvalidError):
        note.Checkpoint.parse(text)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text\n",
        b"text\n\n",
        b"text\n\nno signature\n",
        "text\n\n\u2014 name AAAA\n".encode(),
        "text\n\n\u2014 name QUJDREVGRw\n".encode(),
        "te\rxt\n\n\u2014 name QUJDREVGRw==\n".encode(),
        "text\n\n\u2014 na+me QUJDREVGRw==\n".encode(),
        "text\n\n\u2014 name QUJDREVGRw==".encode(),
        b"\xff\n\n",
        b"x" * (note.MAX_NOTE_BYTES + 1),
        ("text\n\n" + "\u2014 name QUJDREVGRw==\n" * 65).encode(),
    ],
)
def test_a_damaged_note_is_refused(data: bytes) -> None:
    with pytest.raises(AuditNoteInvalidError):
        note.Note.parse(data)


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_are_refused(data: bytes) -> None:
    with contextlib.suppress(AuditNoteInvalidError):
        assert note.Note.parse(data).encode() == data


def test_a_cosignature_verifies_with_its_time_and_with_no_other() -> None:
    line = note.cosign(CHECKPOINT.text, WITNESS_KEY.name, WITNESS, 1_700_000_000)
    whole = signed().with_signatures([line])
    checkpoint, parsed, cosigned = note.open_checkpoint(whole.encode(), LOG, [WITNESS_KEY])
    assert checkpoint == CHECKPOINT
    assert [s.time for _, s in cosigned] == [1_700_000_000]
    assert len(parsed.signatures) == 2
    later = (1_700_000_001).to_bytes(8, "big") + line.value[8:]
    moved = signed().with_signatures([note.Signature(line.name, line.key_id, later)])
    with pytest.raises(AuditNoteInvalidError, match="does not verify"):
        note.open_checkpoint(moved.encode(), LOG, [WITNESS_KEY])


def test_a_witness_alone_does_not_make_a_checkpoint() -> None:
    line = note.cosign(CHECKPOINT.text, WITNESS_KEY.name, WITNESS, 1)
    with pytest.raises(AuditNoteInvalidError, match="only witnesses"):
        note.open_checkpoint(note.Note(CHECKPOINT.text, (line,)).encode(), LOG, [WITNESS_KEY])


def test_a_foreign_key_of_the_same_name_is_not_the_log() -> None:
    foreign = note.SeedSigner(b"f" * 32)
    forged = note.Note(CHECKPOINT.text, (note.sign(CHECKPOINT.text, LOG.name, foreign),))
    with pytest.raises(AuditNoteInvalidError, match="none by that key"):
        note.open_checkpoint(forged.encode(), LOG)


def test_the_checkpoint_of_another_log_is_refused() -> None:
    other = note.Checkpoint("log.example/two", 7, b"\x07" * 32)
    with pytest.raises(AuditNoteInvalidError, match="another log"):
        note.open_checkpoint(signed(other).encode(), LOG)


def test_a_newer_signature_of_the_same_key_replaces_the_older() -> None:
    first = note.cosign(CHECKPOINT.text, WITNESS_KEY.name, WITNESS, 1)
    second = note.cosign(CHECKPOINT.text, WITNESS_KEY.name, WITNESS, 2)
    whole = signed().with_signatures([first]).with_signatures([second])
    assert [s.time for s in whole.signatures] == [None, 2]


@pytest.mark.parametrize("text", ["no newline", "tab\t\n"])
def test_a_text_that_is_no_note_is_not_signed(text: str) -> None:
    with pytest.raises(AuditNoteInvalidError):
        note.sign(text, "k", SIGNER)
