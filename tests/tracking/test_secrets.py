"""Credentials do not reach the journal, and what only looks like one does.

The corpus holds its secrets in pieces, so that those who search repositories for secrets find none.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hokusai.tracking.secrets import REDACTED, is_secret_name, redact_text, redact_texts, redact_values

if TYPE_CHECKING:
    from hokusai.digests import JsonValue

CORPUS: dict[str, Any] = json.loads(Path(__file__).with_name("secrets_corpus.json").read_text(encoding="utf-8"))
TOKENS = {kind: "".join(pieces) for kind, pieces in CORPUS["tokens"].items()}
CONTEXTS = [(item["text"], "".join(item["secret"])) for item in CORPUS["contexts"]]
IN_CONTEXT = [text.replace("{secret}", secret) for text, secret in CONTEXTS]
INNOCENT_TEXTS: list[str] = CORPUS["innocent_texts"]

# Pieces that mean something to the filter, so that random texts reach its corners.
FRAGMENTS = st.one_of(
    st.sampled_from([
        *TOKENS.values(), *IN_CONTEXT, *INNOCENT_TEXTS, REDACTED, "password", "token", "api_key", "sig",
        "Authorization",
        "://", "a:b@", "eyJ", "sk-", "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "Bearer ", "Basic ",
        "--token ", "'", '"', "\\", "=", ": ", "?", "&", ";", ",", "[", "]", "{", "}", "(", ")", "<", ">", "$", "\n",
        " ",        ".", "-", "_", "/", "@", "str", "None", "hunter2", "1234",
    ]),
    st.text(max_size=6),
)  # fmt: skip
TEXTS = st.lists(FRAGMENTS, max_size=12).map("".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("name", CORPUS["secret_names"])
def test_a_name_that_means_a_credential_is_secret(name: str) -> None:
    assert is_secret_name(name)
    assert redact_values({name: "hunter2"}) == {name: REDACTED}


@pytest.mark.parametrize("name", CORPUS["innocent_names"])
def test_a_name_that_only_sounds_like_a_credential_is_not(name: str) -> None:
    assert not is_secret_name(name)
    assert redact_values({name: "hunter2"}) == {name: "hunter2"}


def test_a_name_without_end_is_judged_as_any_other() -> None:
    assert is_secret_name("a_" * 1000 + "password")
    assert not is_secret_name("a_" * 1000 + "tokens")


@pytest.mark.parametrize("secret", TOKENS.values(), ids=TOKENS)
@pytest.mark.parametrize("around", ["{}", "({})", "one {}. two", "%22{}%22", "a/{}/b", "\n{}\n"])
def test_a_token_is_recognised_by_its_format(around: str, secret: str) -> None:
    shown = redact_text(around.format(secret))
    assert secret not in shown
    assert REDACTED in shown


def test_what_surrounds_a_token_stays() -> None:
    for secret in TOKENS.values():
        assert redact_text(f"one ({secret}), two") == f"one ({REDACTED}), two"


@pytest.mark.parametrize(("text", "secret"), CONTEXTS)
def test_a_secret_is_recognised_by_where_it_stands(text: str, secret: str) -> None:
    shown = redact_text(text.replace("{secret}", secret))
    assert secret not in shown
    assert REDACTED in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://u:p@db/mlflow", "postgresql://u:[redacted]@db/mlflow"),
        ("see https://h/p?token=abc&v=1 there", "see https://h/p?token=[redacted]&v=1 there"),
        ("Server=db;Password=p;Database=x", "Server=db;Password=[redacted];Database=x"),
        ("connect(user='a', password='p1', port=1)", "connect(user='a', password='[redacted]', port=1)"),
        ('{"api_key": "p1", "rows": 3}', '{"api_key": "[redacted]", "rows": 3}'),
        ('{"api_keys": ["p1", "p2"], "rows": [3]}', '{"api_keys": ["[redacted]", "[redacted]"], "rows": [3]}'),
        ("Authorization: Bearer abc\nAccept: text", "Authorization: [redacted]\nAccept: text"),
        ("password=1234 token=1234", "password=[redacted] token=1234"),
        ("-----BEGIN PRIVATE KEY-----\nMIIEvQ==\n# cut", "[redacted]# cut"),
    ],
)
def test_the_secret_goes_and_what_surrounds_it_stays(text: str, shown: str) -> None:
    assert redact_text(text) == shown


@pytest.mark.parametrize("text", INNOCENT_TEXTS)
def test_an_innocent_text_stays_as_it_is(text: str) -> None:
    assert redact_text(text) == text


def test_values_are_redacted_by_name_and_content_at_every_depth() -> None:
    token = TOKENS["GitHub personal"]
    values: dict[str, JsonValue] = {
        "training.parameters": {"api_key": "abc", "depth": 3, "auth": {"account": "me", "retries": 2, "on": True}},
        "sources": ["a.csv", "https://u:p1@host/b.csv", {"note": f"by {token}"}],
        "passwords": ["p1", ["p2", None]],
        "max_tokens": 5,
    }
    assert redact_values(values) == {
        "training.parameters": {
            "api_key": REDACTED, "depth": 3, "auth": {"account": REDACTED, "retries": 2, "on": True},
        },
        "sources": ["a.csv", f"https://u:{REDACTED}@host/b.csv", {"note": f"by {REDACTED}"}],
        "passwords": [REDACTED, [REDACTED, None]],
        "max_tokens": 5,
    }  # fmt: skip


@pytest.mark.parametrize("value", [True, False, None, 0, 12, 0.5])
def test_what_is_no_text_is_no_secret(value: JsonValue) -> None:
    assert redact_values({"password": value, "token": [value]}) == {"password": value, "token": [value]}


def test_a_text_that_reads_as_a_number_is_a_secret_only_as_digits_of_a_password() -> None:
    texts = {
        "password": "0123",
        "api_key": "0123",
        "token": "-1.5e-3",
        "secret": "None",
        "passphrase": "",
        "jwt": "nan",
    }
    assert redact_texts(texts) == {**texts, "password": REDACTED}


def test_a_special_token_of_a_model_is_no_secret_under_the_name_token() -> None:
    texts = {"token": "[MASK]", "vocabulary.token": "<|endoftext|>"}
    assert redact_texts(texts) == texts
    assert redact_texts({"password": "[MASK]"}) == {"password": REDACTED}


def test_an_allowed_name_keeps_its_value_wholly() -> None:
    values: dict[str, JsonValue] = {
        "a": {"token": "abc", "b": {"password": "p", "uri": "http://u:p@h"}},
        "a.token": "x",
    }
    assert redact_values(values, allowed={"a"}) == {"a": values["a"], "a.token": REDACTED}
    assert redact_values(values, allowed=["a.b", "token"]) == values
    assert redact_texts({"x.token": "abc", "token.x": "ghp"}, allowed=["x.token"]) == {
        "x.token": "abc",
        "token.x": "ghp",
    }
    assert redact_texts({"x.token": "abc"}, allowed=["y.token", "toke"]) == {"x.token": REDACTED}


@example(
    "curl -H 'Authorization: Bearer hunter2-Tr0ub4dor' https://hosthttps://host/p?token=hunter2-Tr0ub4dor&v=1"
    "AKIAQ3EGR7TZ5X2PLM4Npostgresql+psycopg2://mlflow:hunter2-Tr0ub4dor@db:5432/mlflow"
)
@given(TEXTS)
def test_redacting_a_text_twice_changes_nothing(text: str) -> None:
    once = redact_text(text)
    assert redact_text(once) == once


@given(st.dictionaries(TEXTS | st.sampled_from(CORPUS["secret_names"]), JSON, max_size=4))
def test_redacting_values_twice_changes_nothing(values: dict[str, JsonValue]) -> None:
    once = redact_values(values)
    assert redact_values(once) == once


@given(
    before=TEXTS, after=TEXTS, secret=st.sampled_from(list(TOKENS.values())),
    left=st.sampled_from(" \n\t-.,;:=/?&@#\"'()[]{}<>|%+*"), right=st.sampled_from(" \n\t.,;:=/?&@#\"'()[]{}<>|%+*"),
)  # fmt: skip
def test_a_token_anywhere_in_a_text_never_shows(before: str, after: str, secret: str, left: str, right: str) -> None:
    assert secret not in redact_text(before.replace(secret, "") + left + secret + right + after.replace(secret, ""))


@given(st.text(st.characters(exclude_characters=":=-_.?&", exclude_categories=["Cs"])))
def test_a_text_without_anything_that_gives_a_secret_away_stays(text: str) -> None:
    low = text.lower()
    if not any(
        start in low for start in ("akia", "asia", "abia", "acca", "dapi", "aiza", "basic", "bearer", "services/")
    ):
        assert redact_text(text) == text


@given(st.dictionaries(st.sampled_from(CORPUS["innocent_names"]), st.sampled_from(INNOCENT_TEXTS), max_size=9))
def test_values_without_a_secret_are_equal_afterwards(texts: dict[str, str]) -> None:
    assert redact_texts(texts) == texts
    assert redact_values(texts) == texts
    assert redact_values({"nested": [texts]}) == {"nested": [texts]}


ADVERSARIES = [
    "a", "A",
    "a.", "eyJ", "eyJ-", "eyJ.", "-eyJaaaaaaaaaaaa", "://", "://a:", "://a:b", "://a", "password", "password=",
    "password:",
    "password ", 'password="', "password='\\", "password=)", "password=[", "password=['", "--password ", "--", "-", ".",
    "ghp_", "sk-", "sk-proj-", "SG.", "SG.aaaaaaaaaaaaaaaaa", "glpat-", "xoxb-", "AKIA", "Bearer ", "Basic ", "Basic a",
    "-----BEGIN PRIVATE KEY-----", "-----BEGIN ", "-----END PRIVATE KEY-----", "token: str | None ", "token:  ",
    "\\", '\\"',
    "authorization:", "authorization: ' ", "?sig=", "&sig=(", "/webhooks/1234567890", "hf_aA", "${", "{{", "token=<",
    "aB",
]  # fmt: skip


@pytest.mark.parametrize("piece", ADVERSARIES)
def test_time_grows_no_faster_than_the_text(piece: str) -> None:
    def seconds(size: int) -> float:
        text = "password=x; " + piece * (size // len(piece)) + " !"
        best = float("inf")
        for _ in range(3):
            begin = time.process_time()
            redact_text(text)
            is_secret_name(text)
            best = min(best, time.process_time() - begin)
        return best

    # Linear is 4 and quadratic 16.
    assert seconds(80_000) < 9 * seconds(20_000) + 0.002
