# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest of 512 bytes for QEMU's machine types of the PC: it counts, on its serial line."""

import re

SECTOR = (
    bytes.fromhex(
        "ea057c0000fa31c08ed88ec08ed0bc007cfb88169c7cb00ae670b02fe671b00be670e4710c40e671e4a124fee6a1"
        "e4210c01e62131ff47893e007eb80103b9020030f68a169c7cbb007ecd1389f886e0e8260089f8e82100b020e82e"
        "00b402cd1a88e8e8130088c8e80e0088f0e80900b00ae81600f4f4ebbd50c0e804e8010058240f3c0a7202042704"
        "305250bafd03eca82074fb58baf803ee5ac300"
    ).ljust(510, b"\0")
    + b"\x55\xaa"
)
"""A guest that counts.  What it does, in 16-bit code of the AT&T syntax:

            ljmp $0, $begin
    begin:  cli; xor %ax, %ax; mov %ax, %ds; mov %ax, %es; mov %ax, %ss; mov $0x7c00, %sp; sti
            mov %dl, drive
            # The clock's interrupt, twice a second, instead of the timer's 18: it wakes rarely.
            mov $0x0a, %al; out %al, $0x70; mov $0x2f, %al; out %al, $0x71
            mov $0x0b, %al; out %al, $0x70; in $0x71, %al; or $0x40, %al; out %al, $0x71
            in $0xa1, %al; and $0xfe, %al; out %al, $0xa1
            in $0x21, %al; or $1, %al; out %al, $0x21
            xor %di, %di                        # the count
    next:   inc %di
            mov %di, 0x7e00                     # int 13h: into the disk's second sector
            mov $0x0301, %ax; mov $2, %cx; xor %dh, %dh; mov drive, %dl; mov $0x7e00, %bx; int $0x13
            mov %di, %ax; xchg %ah, %al; call byte; mov %di, %ax; call byte
            mov $' ', %al; call put
            mov $2, %ah; int $0x1a              # the clock of the board: BCD in CH, CL, DH
            mov %ch, %al; call byte; mov %cl, %al; call byte; mov %dh, %al; call byte
            mov $'\\n', %al; call put
            hlt; hlt; jmp next                  # once a second
    byte:   push %ax; shr $4, %al; call digit; pop %ax
    digit:  and $15, %al; cmp $10, %al; jb 1f; add $('a'-'0'-10), %al; 1: add $'0', %al
    put:    push %dx; push %ax; mov $0x3fd, %dx; 1: in %dx, %al; test $0x20, %al; jz 1b
            pop %ax; mov $0x3f8, %dx; out %al, %dx; pop %dx; ret        # COM1
    drive:  .byte 0
"""

_TWICE, _OFTEN = bytes.fromhex("b02f"), bytes.fromhex("b02b")
"""How often the clock interrupts (register A of the MC146818): 2 and 32 times a second."""
IMAGE = SECTOR.replace(_TWICE, _OFTEN, 1).ljust(1 << 20, b"\0")
"""A disk with a quicker one, for whoever has a CPU to spare; a much smaller disk is none to the
firmware."""


def counts(serial: str) -> list[int]:
    """The numbers that the guest has said so far."""
    return [int(found[1], 16) for found in re.finditer(r"^([0-9a-f]{4}) \d{6}$", serial, re.M)]


def seconds(clock: str) -> int:
    """The second of the day of `hhmmss`, as it says it."""
    return 3600 * int(clock[:2]) + 60 * int(clock[2:4]) + int(clock[4:])
