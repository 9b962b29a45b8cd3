"""Names of people, as far as form and context tell: after a title, after a word that says so, in a column of them.

A name in the middle of a sentence takes a language model to see; this sees none.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from hokusai.datasets.personal_data_kinds import KINDS, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hokusai.datasets.personal_data_kinds import ColumnHints

__all__ = [
    "NAME_FORM_SIEVE",
    "NAME_SIEVE",
    "begins_with_given_name",
    "find_names",
    "find_whole_names",
    "has_letters",
    "looks_like_name",
]

_NAME_PART = r"(?:[dlDL]')?[^\W\d_a-zà-öø-ÿ][^\W\d_]{1,24}(?:[-'][^\W\d_]{2,24})?"
_PARTICLE = r"(?:(?:van|von|de|der|den|da|do|dos|di|del|la|le|ten|ter|bin|al)[ ]){1,2}"
_NAME = rf"{_NAME_PART}(?:[ ](?:[^\W\d_]\.[ ])?(?:{_PARTICLE})?{_NAME_PART}){{1,3}}"
_TITLE = (
    r"(?:Mrs?|Ms|Miss|Dr|Prof|Herrn?|Frau|Mme|Mlle|Monsieur|Madame|Señora?|Sra?|Signora?|Sig|Dott|Dhr|Mevr|Mevrouw|Dra?"
    r"|Pan|Pani|Fru|Sir|Lady)"
)
_TITLED = re.compile(rf"(?<!\w){_TITLE}\.?[ ](?P<name>{_NAME_PART}(?:[ ](?:{_PARTICLE})?{_NAME_PART}){{0,2}})(?!\w)")
_SAYS_NAME = r"(?i:my[ ]name[ ]is|dear|je[ ]m'appelle|ich[ ]hei(?:ß|ss)e|me[ ]llamo|mi[ ]chiamo)[ ]"
_HEADS_NAME = (
    r"(?i:(?:(?:full|first|last|patient|customer|contact)[ ]|sur|nach|vor)?name|patient|contact|customer|nom|nombre"
    r"|naam|kunde|client|signed|author)[ ]?[:=][ ]?"
)
_NAMED = re.compile(rf"(?<!\w)(?:{_SAYS_NAME}|{_HEADS_NAME})(?P<name>{_NAME})(?!\w)")
NAME_SIEVE = rf"\b{_TITLE}\.? \p{{Lu}}|\b(?:{_SAYS_NAME}|{_HEADS_NAME})\p{{Lu}}"
_COMMON_GIVEN_NAMES = """
adam adriana agnieszka ahmed alan alejandro alessandro alex alexander alexandra alice amanda amelie amit amy ana
anders andrea andreas andrew angela anita anke ann anna anne annette anthony antonio arthur ashley astrid barbara
beatriz ben benjamin bernd bjorn bob brandon brian camille carl carla carlos carmen caroline catherine cecilia charles
charlotte chloe chris christian christina christine christopher claire clara claudia claus cristina cynthia daniel
daniela david deborah dennis diana diego dieter dirk donald donna dorothy edward elena elizabeth ella emily emma
emmanuel eric erik ernst eva fatima felix fernando filippo francesca francesco francisco frank franz fred frederic
gabriel gary george gerard gerd gianni giulia giuseppe grace greg gustav hannah hans harry heather heike heinz helen
helena helga henri henry ines ingrid isabel isabelle ivan jack jacob jacques james jan jane janet jason javier jean
jeff jennifer jens jessica jesus joan joanna joao johan johanna john jonas jonathan jorge jose josef joseph joshua
juan juergen julia julian julie jurgen justin karen karin karl katarzyna kate katharina katherine kathleen kelly
kenneth kevin kim klaus kristina krzysztof lars laura lauren laurent lea lena leo leon linda lisa louis louise lucas
lucia lucy luigi luis luisa lukas magdalena manfred manuel marc marco marek margaret maria marie marina mario marion
mark markus marta martha martin martina mary mateusz matteo matthew max megan melissa michael michel michele michelle
miguel mike mohamed mohammed monica monika muhammad nancy natalia natalie nathalie nicholas nicola nicolas nicole nina
noah nora oliver olivia olga oscar pablo pamela paola pascal patricia patrick paul paula pedro peter petra philip
philippe pierre piotr priya rachel rafael rahul ralf raj ramon raymond rebecca renate ricardo richard rita robert
roberto roger roland ronald rosa ruth ryan sabine samantha samuel sandra sara sarah scott sean sebastian sergio sharon
silvia simon simone sofia sophia sophie stefan stefano stefanie stephanie stephen steve steven susan susanne sven
sylvie teresa thomas tim timothy tobias tom tomasz tyler ulrich ursula uwe valentina valerie vera veronica victor
victoria vincent walter werner wilhelm william wolfgang xavier yvonne yves zoe
"""
_GIVEN_NAMES = frozenset(_COMMON_GIVEN_NAMES.split())
_WHOLE_NAME = re.compile(rf"{_NAME}|{_NAME_PART},[ ]{_NAME_PART}(?:[ ]{_NAME_PART})?")
# The second word begins with no small letter of Western Europe, but for the particles and "d'".
NAME_FORM_SIEVE = r"^(?:[dlDL]')?\p{Lu}[\p{L}'.\-]+,? (?:[^\P{L}a-zà-öø-ÿ]|[dl]'|[vdltba][a-z]{1,2} )[\p{L}'.\- ]*$"


def looks_like_name(text: str) -> bool:
    """Whether a whole text has the form of a person's name, as many names of other things have."""
    return len(text) <= 80 and _WHOLE_NAME.fullmatch(text) is not None


def begins_with_given_name(text: str) -> bool:
    """Whether one of a few hundred common given names stands where a name has it: first, or behind the comma."""
    before, _, behind = text.partition(",")
    words = (behind or before).split()
    return bool(words) and _plain(words[0]) in _GIVEN_NAMES


def _plain(word: str) -> str:
    return "".join(sign for sign in unicodedata.normalize("NFD", word.lower()) if sign.isalpha())


_MARKER = re.compile(rf"\[(?:{'|'.join(KINDS)})\]|(?:{'|'.join(KINDS)}):[0-9a-f]{{32}}")


def has_letters(text: str) -> bool:
    """Whether there are letters in a text beside those that a treatment has put there."""
    return any(sign.isalpha() for sign in _MARKER.sub("", text))


def find_names(text: str, _: ColumnHints) -> Iterator[Span]:
    """Yield what stands after a title or a word that announces a name."""
    for pattern in (_TITLED, _NAMED):
        for match in pattern.finditer(text):
            yield Span(match.start("name"), match.end("name"), "person_name", "possible")


def find_whole_names(text: str, hints: ColumnHints) -> Iterator[Span]:
    """Yield the whole text, in a column of names."""
    if hints.person_name and len(text) <= 120 and has_letters(text):
        yield Span(0, len(text), "person_name", "possible")
