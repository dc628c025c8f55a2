"""What the compiler and the linker were asked for is in the binary that ships."""
import os
import platform
import subprocess

import pytest
from support import BIN, ROOT

# The other builds are for tests: `release` is what ships.
RELEASE = os.path.join(ROOT, "build/release/stagepost")
BINARY = RELEASE if os.path.exists(RELEASE) else BIN


def readelf(*options):
    done = subprocess.run(["readelf", "--wide", *options, BINARY], check=True,
                          capture_output=True, text=True)
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def a_release_build():
    if "asan" in BINARY:
        pytest.skip("no release build here")


def test_it_is_loaded_anywhere_and_its_tables_are_read_only():
    dynamic = readelf("--dynamic")
    assert "DYN" in readelf("--file-header")
    assert "PIE" in dynamic and "BIND_NOW" in dynamic
    segments = readelf("--segments").splitlines()
    assert any("GNU_RELRO" in line for line in segments)
    stack = [line.split() for line in segments if "GNU_STACK" in line]
    assert len(stack) == 1 and "RW" in stack[0] and "RWE" not in stack[0]
    assert not any("RWE" in line for line in segments)


def test_overflows_of_the_stack_and_of_known_sizes_abort():
    symbols = readelf("--symbols")
    assert "__stack_chk_fail" in symbols
    checked = {s for s in ("__snprintf_chk", "__memcpy_chk", "__vsnprintf_chk", "__read_chk")
               if s in symbols}
    assert len(checked) >= 2, checked


@pytest.mark.skipif(platform.machine() != "x86_64", reason="of x86 processors")
def test_indirect_jumps_land_on_marks():
    """The mark of the whole binary needs a C library that has it; Debian's has not."""
    code = subprocess.run(["objdump", "--disassemble=main", BINARY], check=True,
                          capture_output=True, text=True).stdout
    assert "endbr64" in code
