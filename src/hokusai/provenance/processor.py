"""The processor that a run was made on: its name, how much of it could be used, and what it can compute with.

What it can compute with matters to results: libraries choose their loops by it, and another loop adds up in another
order.
"""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

__all__ = ["Processor", "describe_processor", "read_processor"]

_PROCESSORS = Path("/proc/cpuinfo")
# Those that numerical libraries choose their loops by; the lists of x86 and of ARM do not overlap.
_INSTRUCTION_SETS = """
    amx_bf16 amx_fp16 amx_int8 amx_tile avx avx2 avx512_bf16 avx512_bitalg avx512_fp16 avx512_vbmi2 avx512_vnni
    avx512_vpopcntdq avx512bw avx512cd avx512dq avx512f avx512ifma avx512vbmi avx512vl avx_vnni f16c fma fma4 sse3
    sse4_1 sse4_2 ssse3 xop
    asimd asimddp asimdfhm asimdhp bf16 fphp i8mm neon sme sme2 sve sve2
    vsx vx
    """
_OTHER_NAMES = {"pni": "sse3"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """A processor, as far as this process may use it.

    Attributes:
        model: Its name; empty where the system does not tell.
        physical_cores: Cores that this process may use; 0 where the system does not tell.
        logical_cores: Threads of these that can run at the same time.
        instruction_sets: Those that numerical libraries choose their loops by, in alphabetical order.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    model: str
    physical_cores: int
    logical_cores: int
    instruction_sets: tuple[str, ...]


def describe_processor() -> Processor:
    """Return the processor of this machine, as far as this process may use it."""
    if sys.platform == "darwin":
        return _of_macos()
    try:
        text = _PROCESSORS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    return read_processor(text, usable=_usable())


def read_processor(text: str, *, usable: Collection[int]) -> Processor:
    """Return the processor that Linux's ``/proc/cpuinfo`` describes.

    Args:
        text: The file's text; empty where there is none.
        usable: Numbers of the logical cores that this process may use.
    """
    entries = [entry for block in text.split("\n\n") if "processor" in (entry := _fields(block))]
    own = [entry for entry in entries if entry["processor"].isdigit() and int(entry["processor"]) in usable]
    first = own[0] if own else {}
    cores = {(entry.get("physical id", ""), entry["core id"]) for entry in own if "core id" in entry}
    words = (first.get("flags") or first.get("Features") or "").split()
    return Processor(
        model=_model(first) or platform.processor(),
        physical_cores=len(cores),
        logical_cores=len(usable),
        instruction_sets=_known(words),
    )


def _usable() -> frozenset[int]:
    if sys.platform == "linux":
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _fields(block: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in block.splitlines())
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def _model(fields: Mapping[str, str]) -> str:
    if name := fields.get("model name"):
        return " ".join(name.split())
    # ARM gives numbers where x86 gives a name.
    parts = [
        f"{name} {fields[key]}"
        for key, name in (("CPU implementer", "implementer"), ("CPU part", "part"))
        if key in fields
    ]
    return ", ".join(parts)


def _known(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted({*_INSTRUCTION_SETS.split()} & {_OTHER_NAMES.get(word, word) for word in words}))


def _of_macos() -> Processor:
    """Ask the system by name, as ``sysctl`` does, without starting a program."""
    features = f"{_sysctl_text('machdep.cpu.features')} {_sysctl_text('machdep.cpu.leaf7_features')}"
    words = [word.lower().replace(".", "_").removesuffix("1_0") for word in features.split()]
    arm = {
        "neon": "hw.optional.neon",
        "bf16": "hw.optional.arm.FEAT_BF16",
        "i8mm": "hw.optional.arm.FEAT_I8MM",
        "asimddp": "hw.optional.arm.FEAT_DotProd",
        "sme": "hw.optional.arm.FEAT_SME",
    }
    words += [word for word, name in arm.items() if _sysctl_number(name)]
    return Processor(
        model=_sysctl_text("machdep.cpu.brand_string"),
        physical_cores=_sysctl_number("hw.physicalcpu"),
        logical_cores=_sysctl_number("hw.logicalcpu") or os.cpu_count() or 1,
        instruction_sets=_known(words),
    )


def _sysctl_text(name: str) -> str:
    return _sysctl(name).split(b"\0", 1)[0].decode("utf-8", "replace")


def _sysctl_number(name: str) -> int:
    return int.from_bytes(_sysctl(name), sys.byteorder)


def _sysctl(name: str) -> bytes:
    """Return a value of macOS's system control; empty where it does not have it."""
    import ctypes

    try:
        ask = ctypes.CDLL(None).sysctlbyname
    except (AttributeError, OSError):
        return b""
    size = ctypes.c_size_t(0)
    if ask(name.encode(), None, ctypes.byref(size), None, ctypes.c_size_t(0)):
        return b""
    value = ctypes.create_string_buffer(size.value)
    if ask(name.encode(), value, ctypes.byref(size), None, ctypes.c_size_t(0)):
        return b""
    return value.raw[: size.value]
