"""The sentence about a job is divided into what it names."""

from __future__ import annotations

from conveyor.core.explain_parts import SentencePart, explain_parts

SENTENCE = (
    "It waits behind 3 jobs in queue 'mail' (8 of 8 slots busy). Job 01ab2-c, which has one of "
    "these slots, waits for room in queue 'x' (1/1). w-10: full; `conveyor workers resume w-1`."
)


def test_the_parts_together_are_the_sentence_and_name_what_it_names() -> None:
    parts = explain_parts(SENTENCE, queues=["mail"], workers=["w-1", "w-10"])
    assert "".join(part.text for part in parts) == SENTENCE
    assert [(part.kind, part.name) for part in parts if part.kind != "text"] == [
        ("queue", "mail"),
        ("job", "01ab2-c"),
        ("worker", "w-10"),
        ("command", "conveyor workers resume w-1"),
    ]


def test_a_sentence_without_names_is_one_part() -> None:
    assert explain_parts("It is next.", queues=[], workers=[]) == [SentencePart("It is next.")]


def test_names_are_taken_as_they_are() -> None:
    name = "a.*[x]'(\n"
    parts = explain_parts(f"Queue {name!r} is paused.", queues=[name], workers=[""])
    assert parts[0] == SentencePart(f"Queue {name!r}", "queue", name)
