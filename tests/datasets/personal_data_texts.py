"""Texts with and without personal data, made by Faker in ten languages; nothing here knows how they are searched."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from faker import Faker

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["KINDS", "LOCALES", "LabelledText", "clean_texts", "labelled_texts", "plain_texts"]

LOCALES = ("en_US", "en_GB", "de_DE", "fr_FR", "es_ES", "it_IT", "nl_NL", "pl_PL", "pt_BR", "sv_SE")
KINDS = ("email", "credit_card", "iban", "ip_address", "national_id", "phone")


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text and the kind of personal data that was put into it; none in a clean one."""

    text: str
    kind: str | None


def labelled_texts(number: int, *, kind: str, seed: int) -> list[LabelledText]:
    """Return texts of one kind, the locales in turn."""
    rng = random.Random(f"{kind} {seed}")  # noqa: S311 - texts, no secrets
    fakers = _fakers(seed)
    texts = []
    for at in range(number):
        fake = fakers[at % len(fakers)]
        texts.append(LabelledText(_embedded(_VALUES[kind](fake, rng), fake, rng), kind))
    return texts


def clean_texts(number: int, *, seed: int) -> list[LabelledText]:
    """Return texts without personal data, most of which hold something that looks like it."""
    rng = random.Random(f"clean {seed}")  # noqa: S311
    fakers = _fakers(seed + 1)
    texts = []
    for at in range(number):
        fake = fakers[at % len(fakers)]
        texts.append(LabelledText(_embedded(rng.choice(_LOOKALIKES)(fake, rng), fake, rng), None))
    return texts


def plain_texts(number: int, *, seed: int) -> list[LabelledText]:
    """Return sentences with nothing in them."""
    fakers = _fakers(seed + 2)
    return [LabelledText(fakers[at % len(fakers)].sentence(nb_words=14), None) for at in range(number)]


# To make one takes longer than to make all the texts that a test needs of it.
_FAKERS = [Faker(locale) for locale in LOCALES]


def _fakers(seed: int) -> list[Faker]:
    for position, fake in enumerate(_FAKERS):
        fake.seed_instance(1_000 * seed + position)
    return _FAKERS


def _embedded(value: str, fake: Faker, rng: random.Random) -> str:
    words = fake.sentence(nb_words=rng.randint(4, 16)).rstrip(".").split()
    match rng.randrange(6):
        case 0:
            return value
        case 1:
            return f"{' '.join(words)} {value}"
        case 2:
            return f"{' '.join(words)} ({value})."
        case 3:
            return f"{value}, {' '.join(words)}"
        case 4:
            return f"{' '.join(words[:2])}: {value}; {' '.join(words[2:])}"
        case _:
            return f"{' '.join(words[:3])} {value} {' '.join(words[3:])}"


def _grouped(text: str, rng: random.Random) -> str:
    separator = rng.choice(("", "", " ", "-"))
    return separator.join(text[at : at + 4] for at in range(0, len(text), 4))


def _email(fake: Faker, rng: random.Random) -> str:
    makers = (fake.email, fake.free_email, fake.company_email, fake.ascii_safe_email)
    address = str(rng.choice(makers)())
    return address.upper() if rng.random() < 0.1 else address


def _card(fake: Faker, rng: random.Random) -> str:
    return _grouped(fake.credit_card_number(), rng)


def _iban(fake: Faker, rng: random.Random) -> str:
    return _grouped(fake.iban(), rng).replace("-", " ")


def _ip_address(fake: Faker, rng: random.Random) -> str:
    return str(rng.choice((fake.ipv4_public, fake.ipv6))())


_FRENCH, _ITALIAN, _SPANISH, _POLISH, _BRAZILIAN, _SWEDISH, _DUTCH, _FINNISH, _NORWEGIAN, _SWISS = (
    Faker(locale)
    for locale in ("fr_FR", "it_IT", "es_ES", "pl_PL", "pt_BR", "sv_SE", "nl_NL", "fi_FI", "no_NO", "de_CH")
)
_IDENTITIES: tuple[tuple[Faker, Callable[[Faker], str]], ...] = (
    (_FRENCH, lambda fake: fake.ssn()),
    (_ITALIAN, lambda fake: fake.ssn()),
    (_SPANISH, lambda fake: fake.nif()),
    (_SPANISH, lambda fake: fake.nie()),
    (_POLISH, lambda fake: f"PESEL {fake.pesel()}"),
    (_BRAZILIAN, lambda fake: fake.cpf()),
    (_SWEDISH, lambda fake: fake.ssn()),
    (_DUTCH, lambda fake: f"BSN: {fake.ssn()}"),
    (_FINNISH, lambda fake: fake.ssn()),
    (_NORWEGIAN, lambda fake: fake.ssn()),
    (_SWISS, lambda fake: fake.ssn()),
)


def _national_id(_: Faker, rng: random.Random) -> str:
    fake, make = rng.choice(_IDENTITIES)
    fake.seed_instance(rng.getrandbits(32))
    return make(fake)


def _phone(fake: Faker, _: random.Random) -> str:
    return fake.phone_number()


_VALUES: dict[str, Callable[[Faker, random.Random], str]] = {
    "email": _email,
    "credit_card": _card,
    "iban": _iban,
    "ip_address": _ip_address,
    "national_id": _national_id,
    "phone": _phone,
}
_LOOKALIKES: tuple[Callable[[Faker, random.Random], str], ...] = (
    lambda fake, _: fake.numerify("order %#########"),
    lambda fake, _: fake.numerify("%###############"),
    lambda fake, _: fake.numerify("no. %##########"),
    lambda fake, _: fake.isbn13(),
    lambda fake, _: fake.isbn10(),
    lambda fake, _: fake.ean13(),
    lambda fake, _: fake.pricetag(),
    lambda _, rng: f"{rng.uniform(-90, 90):.8f}, {rng.uniform(-180, 180):.12f}",
    lambda fake, _: fake.iso8601(),
    lambda fake, _: fake.date("%d.%m.%Y"),
    lambda fake, _: fake.date_time().strftime("%Y%m%d%H%M%S"),
    lambda _, rng: str(rng.randint(1_000_000_000_000, 1_800_000_000_000)),
    lambda fake, _: fake.sha256(),
    lambda fake, _: fake.md5(),
    lambda fake, _: fake.uuid4(),
    lambda fake, _: fake.numerify("SN-####-######"),
    lambda fake, _: fake.numerify("version %.#.%.%"),
    lambda fake, _: fake.numerify("%.%#.%.%%"),
    lambda fake, _: fake.bothify("??-####-??", letters="ABCDEFGHKLMNPRSTUVWXYZ"),
    lambda fake, _: fake.bothify("??######", letters="ABCDEFGHKLMNPRSTUVWXYZ"),
    lambda fake, _: fake.user_agent(),
    lambda fake, _: fake.mac_address(),
    lambda fake, _: fake.file_path(depth=3),
    lambda fake, _: fake.license_plate() if hasattr(fake, "license_plate") else fake.numerify("AB-###"),
    lambda fake, _: fake.url(),
    lambda _, rng: f"{rng.randint(1_000_000, 999_999_999):,}",
    lambda fake, _: fake.sentence(nb_words=12),
    lambda _, rng: " ".join(str(rng.randint(0, 999)) for __ in range(8)),
    lambda _, rng: f"chr{rng.randint(1, 22)}:{rng.randint(10**7, 10**8)}-{rng.randint(10**7, 10**8)}",
    lambda fake, _: fake.numerify("10.####/##########"),
)
