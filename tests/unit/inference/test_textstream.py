from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.inference.textstream import TextStream

STOPS = st.lists(st.text("abé#\n", min_size=1, max_size=4), max_size=3).map(tuple)


def _run(data: bytes, sizes: list[int], stop: tuple[str, ...]) -> tuple[str, bool]:
    stream, out, at = TextStream(stop), "", 0
    for size in [*sizes, len(data)]:
        out += stream.feed(data[at : at + size])
        at += size
    return out + stream.finish(), stream.stopped


@given(st.text("abé€😀#\n"), st.lists(st.integers(0, 3), max_size=60))
def test_any_cut_of_the_bytes_gives_the_text(text: str, sizes: list[int]) -> None:
    assert _run(text.encode(), sizes, ()) == (text, False)


@given(st.text("abé#\n"), st.lists(st.integers(0, 3), max_size=60), STOPS)
def test_any_cut_of_the_bytes_stops_at_the_first_stop(
    text: str, sizes: list[int], stop: tuple[str, ...]
) -> None:
    out, stopped = _run(text.encode(), sizes, stop)
    assert not any(s in out for s in stop)
    assert text.startswith(out)
    assert stopped == any(s in text for s in stop)
    if not stopped:
        assert out == text


def test_a_held_beginning_of_a_stop_comes_out_when_it_was_none() -> None:
    stream = TextStream(("###",))
    assert stream.feed(b"a ##") == "a "
    assert stream.feed(b" b") == "## b"


def test_broken_utf8_becomes_the_replacement_character() -> None:
    assert _run(b"a\xe2\x82", [], ()) == ("a\ufffd", False)
