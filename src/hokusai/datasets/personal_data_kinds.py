"""The kinds of personal data, how sure a finding is, and what a column's name says about its values."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

__all__ = ["KINDS", "ColumnHints", "Evidence", "Grade", "Kind", "Span", "column_hints", "says_identity"]

Kind = Literal[
    "email",
    "phone",
    "credit_card",
    "iban",
    "ip_address",
    "national_id",
    "person_name",
    "postal_address",
]
Grade = Literal["certain", "possible"]
Evidence = Literal["certain", "possible", "weak", "miss"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Span(NamedTuple):
    """Where in a text something stands that may be personal data.

    Attributes:
        start: Its first character.
        end: The character after its last.
        kind: What it may be.
        evidence: ``weak`` is for a check that chance passes once in ten times, ``miss`` for what has the shape alone.
        scheme: Which numbering system; what is counted together when a whole column is judged. May be empty.
    """

    start: int
    end: int
    kind: Kind
    evidence: Evidence
    scheme: str = ""

    @property
    def facts(self) -> tuple[Kind, Evidence, str]:
        """Kind, evidence and scheme: all but where it stands."""
        return self[2:]


_SAYS_IDENTITY = re.compile(
    r"\b(?:ssn|social[ _-]security|cpf|pesel|bsn|burgerservice\w*|sofi-?nummer|aadhaar|national[ _-]ins\w*|idnr|insee"
    r"|codice[ _-]fiscale|person\w*n(?:ummer|umber|r)|personal[ _-](?:id|number)|steuer\w*|s[eé]curit[eé][ _-]sociale"
    r"|national[ _-](?:id|number)|identity|identification|rijksregister\w*|tax(?:payer)?[ _-](?:id|number|file)|nhs"
    r"|passport|curp|egn|f[oø]dselsnummer|kimlik|citizen[ _-](?:id|number|card))\b",
    re.IGNORECASE,
)
# In small letters, some of these are words of some language.
_IDENTITY_INITIALS = ("SIN", "NIN", "NINO", "DNI", "NIE", "NIF", "NIR", "TFN", "RUT", "CNP")
_SAYS_INITIALS = re.compile(rf"\b(?:{'|'.join(_IDENTITY_INITIALS)})\b")


def says_identity(text: str) -> bool:
    """Whether a text speaks of a national identity number."""
    return _SAYS_IDENTITY.search(text) is not None or _SAYS_INITIALS.search(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnHints:
    """What a column's name says about its values.

    Attributes:
        phone: It holds phone numbers.
        national_id: It holds national identity numbers.
        person_name: It holds names of people.
        postal_address: It holds postal addresses.
    """

    phone: bool = False
    national_id: bool = False
    person_name: bool = False
    postal_address: bool = False


_WORDS = re.compile(r"[A-Z]?[a-zß-ÿ]+|[A-Z]+(?![a-zß-ÿ])")
_PHONE_WORDS = {
    *("phone", "tel", "telephone", "mobile", "cell", "cellphone", "fax", "msisdn", "telefon", "handy", "whatsapp"),
    *("téléphone", "telefono", "teléfono", "telefone", "movil", "móvil", "celular", "telefoon", "telefonnummer"),
}
_NAME_WORDS = {
    *("firstname", "lastname", "surname", "fullname", "forename", "givenname", "familyname", "vorname", "nachname"),
    *("prenom", "prénom", "apellido", "apellidos", "cognome", "achternaam", "voornaam", "sobrenome"),
}
_NAME_OWNERS = {
    *("first", "last", "full", "given", "family", "middle", "maiden", "patient", "customer", "contact", "client"),
    *("employee", "person", "student", "member", "owner", "author", "guest", "passenger", "donor", "doctor"),
}
_ADDRESS_WORDS = {
    *("address", "street", "adresse", "strasse", "straße", "direccion", "dirección", "indirizzo", "endereco"),
}
_NOT_ADDRESS_WORDS = {"ip", "ipv", "mac", "email", "mail", "e", "web", "url", "memory", "wallet", "hash", "phone"}


@functools.lru_cache(maxsize=4096)
def column_hints(name: str) -> ColumnHints:
    """Return what a column's name says about its values."""
    in_order = [word.lower() for word in _WORDS.findall(name)]
    words = {*in_order, "".join(in_order)}
    return ColumnHints(
        phone=bool(words & _PHONE_WORDS),
        national_id=says_identity(" ".join(in_order).upper()),
        person_name=bool(words & _NAME_WORDS) or ("name" in words and bool(words & _NAME_OWNERS)),
        postal_address=bool(words & _ADDRESS_WORDS) and not words & _NOT_ADDRESS_WORDS,
    )
