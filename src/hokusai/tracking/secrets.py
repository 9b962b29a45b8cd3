"""Keeps credentials out of the journal: by the name of a parameter or tag, and by what a text holds.

A name decides where it means a credential (``db_password``, ``HF_TOKEN``) and not where it only sounds like one
(``max_tokens``, ``cls_token``). A text is searched for credentials that show themselves: in URIs, in formats that
issuers have made recognisable, in key blocks, and where a secret name is given a value.

Everything here takes time linear in the length of its input: no pattern is tried again over text that it has already
run over. Redacting twice changes nothing. There are functions of no library here because the one that is well kept,
detect-secrets, finds suspicious lines for a person to look at: it names a part of a secret instead of its span, calls
ordinary words suspicious for their entropy, takes 0.3 ms for 20 characters, and time quadratic in a long line.
"""

from __future__ import annotations

import binascii
import re
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from hokusai.digests import JsonValue

__all__ = ["REDACTED", "is_secret_name", "redact_text", "redact_texts", "redact_values"]

REDACTED = "[redacted]"
"""What stands in the place of a secret."""

_Kind: TypeAlias = Literal["password", "secret", "token", "header"]
"""What a name promises: of a password digits are secret too; a token may be a model's special token; a header's value
goes on to the end of the line."""

# --- names ------------------------------------------------------------------------------------------------------------

_LONGEST_CACHED_NAME = 250  # MLflow's limit; a longer name is no name and must not fill the memory

_WORD = re.compile(r"[A-Z]++(?![a-z])|[A-Z]?[a-z]++|[A-Z]")
_SEGMENT = re.compile(r"[./]")


def _words_of(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PASSWORDS = _words_of("password passwords passwd passwds pwd pwds passphrase passphrases passcode passcodes otp totp")
_PASSWORD_ENDS = ("password", "passwords", "passwd", "passphrase")
_HEADERS = _words_of("authorization cookie cookies")
_CREDENTIALS = _words_of("secret secrets credential credentials creds bearer jwt sessionid jsessionid phpsessid sessid")
_KEY_ISSUERS = _words_of("""
    access account admin api apim app application auth aws azure comet consumer datadog deploy encryption gcp github
    gpg hf huggingface license master mistral neptune openai anthropic cohere pgp private rsa secret session
    sharedaccess signing ssh subscription wandb
""")
_TOKEN_ISSUERS = _words_of("""
    access admin api app auth aws azure bearer bot ci client comet csrf databricks deploy discord docker gh git github
    gitlab google hf hub huggingface id jwt kaggle login mlflow neptune npm oauth openai personal private pypi refresh
    registry replicate sas secret security service session slack telegram tracking user vault wandb webhook xsrf
""")
_PASS_OWNERS = _words_of("""
    admin basic database db email ftp http imap ldap login mail mongo my mysql pg postgres proxy rabbit redis root smtp
    sql ssh sudo user
""")
# The words in front of "token" that make it a piece of text or of a model's input.
_TOKEN_ROLES = _words_of("""
    action assistant audio bad begin blank bos boi boundary box class classification cls control current decoder
    delimiter dist distill distillation dummy empty end endoftext eoi eol eos eot event extra fake fill first forced
    frame global good image img init input instance instruction label lang language last latent learnable mask masked
    memory meta modal new newline next no object oov output pad padded padding patch per placeholder point pool pooling
    positive negative prefix previous prompt query reg register response reward role rare sentinel sep separator
    source space speaker special start state stop style sub subword suffix summary suppress system target task text
    think thinking time timestamp tool trigger unk unknown video vision visual vocab whitespace word yes
""")
_QUANTITIES = _words_of("n num number count max min total mean avg has is use uses with without needs requires")
# The last word of a name that speaks about a credential and holds none.
_HARMLESS_ENDS = _words_of("""
    age algorithm attempts attempt column columns count created date days dim dir directory disabled enabled endpoint
    entropy env environment error errors expired expires expiry feature features field fields file filename folder
    format hasher index interval kind label len length limit manager max min mode model name names number path pattern
    policy position prompt provider ratio required reset rotation rule rules scope score service size status store
    strength timeout ttl type updated uri url user username validator validators variable version
""")
# A last word that leaves the meaning to the words before it.
_CARRIERS = _words_of("""
    b base dev development encoded hash header json new old plain plaintext prod production raw staging value values
""")


def is_secret_name(name: str) -> bool:
    """Return whether a parameter or tag of this name holds a credential.

    The name may be written in any usual way: ``db_password``, ``db.password``, ``dbPassword``, ``db-password``,
    ``DB_PASSWORD``. What stands below a secret name (``credentials.account``) is secret as well.
    """
    return _kind_of(name) is not None


def _kind_of(name: str) -> _Kind | None:
    return _cached_kind(name) if len(name) <= _LONGEST_CACHED_NAME else _kind(name)


def _kind(name: str) -> _Kind | None:
    words: list[str] = []
    kind: _Kind | None = None
    for segment in _SEGMENT.split(name):
        own = [word.lower() for word in _WORD.findall(segment)]
        if not own:
            continue
        words.extend(own)
        # Together with the words before it, for access.key; four are enough for every rule but "password".
        together = _kind_of_words(words[-len(own) - 3 :])
        here = _kind_of_words(own)
        if own[0] not in _QUANTITIES and (here is None or (here == "token" and together is None)):
            here = together
        if here is None and kind is not None:
            is_carrier = all(word in _CARRIERS for word in own)
            if is_carrier or (kind != "token" and own[-1] not in _HARMLESS_ENDS):
                here = kind
        kind = here
    return kind


_cached_kind = lru_cache(maxsize=4096)(_kind)


def _kind_of_words(words: Sequence[str]) -> _Kind | None:
    end = len(words)
    while end > 1 and words[end - 1] in _CARRIERS:
        end -= 1
    words = words[:end]
    last = words[-1]
    before = words[-2] if end > 1 else ""
    if words[0] in _QUANTITIES and end > 1:
        return None
    if last not in _HARMLESS_ENDS and any(word in _PASSWORDS or word.endswith(_PASSWORD_ENDS) for word in words):
        return "password"
    if last in _HEADERS:
        return "header"
    if _is_credential(last, before, words):
        return "secret"
    return "token" if _is_token(last, before) else None


def _is_credential(last: str, before: str, words: Sequence[str]) -> bool:  # noqa: PLR0911  (a rule for each word)
    match last:
        case "key" | "keys":
            return before in _KEY_ISSUERS
        case "pass":
            return not before or before in _PASS_OWNERS
        case "auth":
            return not before or before in {"basic", "http", "proxy", "registry", "docker", "npm"}
        case "string" | "str":
            return before in {"connection", "conn"}
        case "id":
            return before in {"session", "secret"} or list(words[-3:-1]) == ["access", "key"]
        case "signature":
            return before in {"amz", "goog", "access"}
        case "pat":
            return before in _TOKEN_ISSUERS
        case _ if last in _CREDENTIALS:
            return True
    if last.endswith("secret"):
        return True
    issuer = last.removesuffix("s")
    return issuer.endswith("key") and issuer[:-3] in _KEY_ISSUERS


def _is_token(last: str, before: str) -> bool:
    if last == "token":
        return before not in _TOKEN_ROLES and before not in _QUANTITIES
    if last == "tokens":
        return before in _TOKEN_ISSUERS - {"id", "user", "client"}
    issuer = last.removesuffix("s")
    return issuer.endswith("token") and issuer[:-5] in _TOKEN_ISSUERS


# --- values -----------------------------------------------------------------------------------------------------------

_NUMBER = re.compile(r"[+-]?+(?:\d++\.?+\d*+|\.\d++)(?>(?:[eE][+-]?+\d++)?)|[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_NOT_VALUES = _words_of("""
    any bool bytes false float int nil no none null object off on optional secretstr str string true undefined yes
""")
# <pad>, [MASK], <|endoftext|>, ▁the, ##ing
_SPECIAL_TOKEN = re.compile(r"<[^<>\s]{1,40}>|\[[^\[\]\s]{1,40}\]|##\w{1,20}|▁\w{0,20}")
_PLACEHOLDER = re.compile(r"\$\{[^{}]*+\}|\$[A-Z][A-Z0-9_]*+|\{\{[^{}]*+\}\}|\{\w*+\}|%\(\w++\)s|<[a-z _-]{1,40}>")


def _is_secret_value(kind: _Kind, value: str) -> bool:
    if value.startswith(REDACTED) or not any(map(str.isalnum, value)) or value.lower() in _NOT_VALUES:
        return False
    if _PLACEHOLDER.fullmatch(value):
        return False
    if kind == "password" and value.isdigit():
        return True
    if _NUMBER.fullmatch(value):
        return False
    return kind != "token" or _SPECIAL_TOKEN.fullmatch(value) is None


def _is_working_directory(name: str, value: str) -> bool:
    return name in {"PWD", "OLDPWD"} and value.startswith("/")


def redact_values(values: Mapping[str, JsonValue], *, allowed: Collection[str] = ()) -> dict[str, JsonValue]:
    """Return the values with ``[redacted]`` for every text that is a secret by its name or by its content.

    Mappings and lists are redacted at every depth; a value below a secret name is secret whatever its own name.
    Booleans, numbers and None are never secrets.

    Args:
        values: Values by name; nested names are joined with dots.
        allowed: Names whose values stay wholly as they are: a full dotted name or its last part; default none.
    """
    return {name: _redact_value(name, value, allowed) for name, value in values.items()}


def redact_texts(values: Mapping[str, str], *, allowed: Collection[str] = ()) -> dict[str, str]:
    """Return the texts with ``[redacted]`` for every secret; as :func:`redact_values` for values that are texts.

    A text that reads as a number is no secret, except digits alone under the name of a password.

    Args:
        values: Texts by name.
        allowed: Names whose texts stay wholly as they are: a full dotted name or its last part; default none.
    """
    return {name: text if _is_allowed(name, allowed) else _redact_named(name, text) for name, text in values.items()}


def _is_allowed(name: str, allowed: Collection[str]) -> bool:
    return bool(allowed) and (name in allowed or name.rpartition(".")[2] in allowed)


def _redact_named(name: str, text: str) -> str:
    kind = _kind_of(name)
    if kind is not None and _is_secret_value(kind, text) and not _is_working_directory(name, text):
        return REDACTED
    return redact_text(text)


def _redact_value(name: str, value: JsonValue, allowed: Collection[str]) -> JsonValue:
    if _is_allowed(name, allowed) or value is None or isinstance(value, int | float):
        return value
    if isinstance(value, str):
        return _redact_named(name, value)
    if hasattr(value, "items"):
        return {key: _redact_value(f"{name}.{key}", item, allowed) for key, item in value.items()}
    items = [_redact_value(name, item, allowed) for item in value]
    return tuple(items) if isinstance(value, tuple) else items


# --- texts ------------------------------------------------------------------------------------------------------------

# On the lower-case text: without IGNORECASE the search skips to the first letters of these at once.
_TRIGGER = re.compile(
    r"://|pass|pwd|secret|token|key|cred|auth|bearer|basic|cookie|sess|conn|signature|[?&]sig=|jwt|otp|pat[\"']?[=:]"
    r"|akia|asia|abia|acca|gh[pousr]_|github_pat_|gl[a-z]{2,6}-|xox|xapp-|sk-|[sr]k_|whsec_|hf_|api_org_|dapi|aiza"
    r"|ya29\.|gocspx-|npm_|pypi-age|sg\.|eyj|hooks\.slack|/webhooks/"
)

# Every alternative is a prefix and a class with a least length: once it has been long enough it cannot fail any more,
# and before that it has run over a few characters only. What is left of the word goes with it.
# A word begins here: also behind what a URI or a repr has escaped.
_BEGIN = r"(?:(?<![A-Za-z0-9_])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrt]))"
_KNOWN_FORMAT = re.compile(
    rf"""
    (?:
      gh[pousr]_ [A-Za-z0-9_]{{20}}
    | github_pat_ [A-Za-z0-9_]{{20}}
    | xox[a-z](?:\.xox[a-z])?- [A-Za-z0-9-]{{10}}
    | (?<=hooks\.slack\.com/) (?:services|workflows|triggers)/ [A-Za-z0-9/_-]{{8}}
    | (?<=/webhooks/) [0-9]{{10,30}}+ / [A-Za-z0-9_-]{{20}}
    | {_BEGIN} (?:
        (?:AKIA|ASIA|ABIA|ACCA) [A-Z0-9]{{16}} (?![A-Z0-9])
      | gl(?:pat|dt|rt|rtr|cbt|ptt|ft|imt|agent|oas|soat|ffct)- [A-Za-z0-9_-]{{18,300}}+
        (?: \.[A-Za-z0-9_-]{{1,100}}+ ){{0,3}}+
      | xapp- [A-Za-z0-9-]{{10}}
      | sk- (?: (?:proj|svcacct|admin|ant|or)- [A-Za-z0-9_-]{{16}} | (?=[A-Za-z0-9]{{0,40}}[0-9]) [A-Za-z0-9]{{20}} )
      | [sr]k_(?:live|test)_ [A-Za-z0-9]{{10}}
      | whsec_ [A-Za-z0-9+/]{{20}}
      | (?:hf|api_org)_ [A-Za-z0-9]{{30}}
      | dapi [a-f0-9]{{32}}
      | AIza [A-Za-z0-9_-]{{35}}
      | ya29\. [A-Za-z0-9_-]{{20}}
      | GOCSPX- [A-Za-z0-9_-]{{20}}
      | npm_ [A-Za-z0-9]{{36}}
      | pypi-AgE [A-Za-z0-9_-]{{20}}
      | SG\. [A-Za-z0-9_-]{{16,64}}+ \. [A-Za-z0-9_-]{{16}}
      )
    )
    [\w/+-]*+
    """,
    re.VERBOSE,
)
_BASE64URL_RUN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*+")
_KEY_BLOCK = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_BLOCK_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_BLOCK_BODY = re.compile(r"[A-Za-z0-9+/=\s\\]*+")
# The first form is RFC 3986's; the second is a password with a slash, which database drivers take, and no port.
_USER_INFO = re.compile(
    r"""(?<=://)(?:
      (?P<user>[^\s/?\#:@"'<>]*+) : (?: [^\s/?\#"'<>]*@ | (?!\d{1,5}[/?\#]) [^\s"'<>@]{1,100}+ @ )
    | (?=[^\s/?\#:@]{0,300}\d) [A-Za-z0-9_.~-]{20,300}+ @
    )""",
    re.VERBOSE,
)
_SCHEME = re.compile(
    r"(?<![A-Za-z0-9_])(?:(?P<bearer>[Bb]earer|BEARER)|[Bb]asic|BASIC)[ \t]{1,4}(?P<value>[A-Za-z0-9._~+/=-]{8,}+)"
)
_ASSIGNMENT = re.compile(
    r"""
    (?<![\w.-])
    (?: (?P<flag> --[\w.-]++ ) (?>(?:["'],)?) [ \t]++ (?![-=:])
      | (?P<name> [\w.-]++ ) \\*+ ["']?+ \]?+ [ \t]*+
        (?: : [ \t]*+ (?:str|bytes|SecretStr|Optional\[str\]) (?>(?:[ \t]*+\|[ \t]*+None)?) [ \t]*+ =
          | := | => | ==?+ | :)
        [ \t]*+
    )
    """,
    re.VERBOSE,
)
_QUOTED = re.compile(
    r"""
    [bBrRuUfF]{0,2}+
    (?: (?P<escape>\\++["']) (?P<escaped>[^"'\\\n]*+) (?>(?:\\++["'])?)
      | (?:\"{3}|") (?P<double>(?>(?:[^"\\\n]|\\.)*)) "?+
      | (?:'''|') (?P<single>(?>(?:[^'\\\n]|\\.)*)) '?+
    )
    """,
    re.VERBOSE,
)
_LIST = re.compile(r"""\[ [ \t]*+ (?=\\*["']) [^\[\]\n]*+""", re.VERBOSE)
# A password rarely ends in what closes a call, a list or a sentence.
_UNQUOTED = re.compile(
    r"""(?>(?:(?:[Bb]earer|[Bb]asic|[Tt]oken|[Dd]igest)[ \t]++)?) [^\s"'&;]* [^\s"'&;,)\]}\\]""", re.VERBOSE
)
_REST_OF_LINE = re.compile(r"""[^\r\n"'\\]++""")
# Code in a traceback names where a secret comes from.
_REFERENCE = re.compile(r"(?:self|cls|args|config|settings|os|getpass|env|environ)(?>(?:\.[A-Za-z_]\w*+)+)[(\[]*+")

_ROUNDS = 4


def redact_text(text: str) -> str:
    """Return the text with ``[redacted]`` in the place of every credential that shows itself.

    Those are: user name and password in a URI (the user name stays), tokens in their issuers' formats, private key
    blocks, ``Bearer`` and ``Basic`` credentials, and what is given to a secret name (``password=``, ``"apiKey": ``,
    ``--token ``, ``?sig=``). Digests, identifiers, e-mail addresses and paths stay.
    """
    if _TRIGGER.search(text.lower()) is None:
        return text
    for _ in range(_ROUNDS):
        # What is taken out may leave behind what only now reads as a credential.
        before, text = text, _redacted(text)
        if text == before:
            break
    return text


def _redacted(text: str) -> str:
    if "-----BEGIN " in text:
        text = _redact_key_blocks(text)
    if "eyJ" in text:
        text = _BASE64URL_RUN.sub(_redact_web_token, text)
    text = _KNOWN_FORMAT.sub(REDACTED, text)
    if "://" in text:
        text = _USER_INFO.sub(_redact_user_info, text)
    if "=" in text or ":" in text or "--" in text:
        text = _redact_assignments(text)
    return _SCHEME.sub(_redact_scheme, text)


def _redact_key_blocks(text: str) -> str:
    parts, position = [], 0
    ends = _KEY_BLOCK_END.finditer(text)
    end = next(ends, None)
    while begin := _KEY_BLOCK.search(text, position):
        while end is not None and end.start() < begin.end():
            end = next(ends, None)
        parts += [text[position : begin.start()], REDACTED]
        if end is not None:
            position = end.end()
        else:
            body = _KEY_BLOCK_BODY.match(text, begin.end())
            position = body.end() if body else begin.end()
    return "".join([*parts, text[position:]])


def _redact_web_token(match: re.Match[str]) -> str:
    run = match[0]
    if "eyJ" not in run:
        return run
    segments = run.split(".")
    start = 0
    for segment, following in pairwise(segments):
        offset = segment.find("eyJ")
        if offset >= 0 and len(segment) - offset >= 12 and len(following) >= 8:
            return run[: start + offset] + REDACTED + "." * (len(run) - len(run.rstrip(".")))
        start += len(segment) + 1
    return run


def _redact_user_info(match: re.Match[str]) -> str:
    user = match["user"]
    return f"{REDACTED}@" if user is None else f"{user}:{REDACTED}@"


def _redact_scheme(match: re.Match[str]) -> str:
    value = match["value"]
    if match["bearer"]:
        is_secret = any(map(str.isdigit, value)) or len(value) >= 32
    else:
        try:
            is_secret = b":" in binascii.a2b_base64(value)
        except binascii.Error:
            is_secret = False
    return match[0][: -len(value)] + REDACTED if is_secret else match[0]


def _redact_assignments(text: str) -> str:
    parts, position = [], 0
    for match in _ASSIGNMENT.finditer(text):
        if match.start() < position:
            continue
        name = match["flag"] or match["name"]
        kind = _kind_in_text(text, match.start(), name)
        if kind is None:
            continue
        start, end, replacement = _assigned(text, match.end(), kind=kind, name=name)
        if end > start:
            parts += [text[position:start], replacement]
            position = end
    return "".join([*parts, text[position:]]) if parts else text


def _kind_in_text(text: str, start: int, name: str) -> _Kind | None:
    kind = _kind_of(name)
    before = text[start - 1 : start]
    if kind is None and before == "\\" and name[0] in "nrt":  # a line break that repr has written out
        kind = _kind_of(name[1:])
    if kind is None and before in {"?", "&"} and name.lower() in {"sig", "signature"}:
        kind = "secret"
    return kind


def _assigned(  # noqa: PLR0911  (each form of a value in turn)
    text: str, start: int, *, kind: _Kind, name: str
) -> tuple[int, int, str]:
    """Return where the value that begins at ``start`` stands and what to put there; an empty span for nothing."""
    nothing = (start, start, "")
    if text.startswith(REDACTED, start):
        return nothing
    if match := _QUOTED.match(text, start):
        group = match.lastgroup or ""
        value = match[group]
        if not _is_secret_value(kind, value) or _is_working_directory(name, value):
            return nothing
        return match.start(group), match.end(group), REDACTED
    if match := _LIST.match(text, start):
        return start, match.end(), _QUOTED.sub(lambda item: _redact_item(item, kind), match[0])
    placeholder = _PLACEHOLDER.match(text, start) or (_SPECIAL_TOKEN.match(text, start) if kind == "token" else None)
    if placeholder and re.match(r"""[\s"'&;,)\]]|$""", text[placeholder.end() : placeholder.end() + 1]):
        return nothing
    match = (_REST_OF_LINE if kind == "header" else _UNQUOTED).match(text, start)
    if match is None:
        return nothing
    value = match[0].rstrip()
    is_reference = value == name.lstrip("-") or _REFERENCE.fullmatch(value) or _is_working_directory(name, value)
    if is_reference or not _is_secret_value(kind, value):
        return nothing
    return start, start + len(value), REDACTED


def _redact_item(match: re.Match[str], kind: _Kind) -> str:
    group = match.lastgroup or ""
    value = match[group]
    if not _is_secret_value(kind, value):
        return match[0]
    begin, end = match.start(group) - match.start(), match.end(group) - match.start()
    return match[0][:begin] + REDACTED + match[0][end:]
