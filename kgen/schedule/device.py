"""All thresholds of scheduling and launching, for each architecture: facts of the hardware, and what was measured.

In: the name of an architecture, as `kgen aot` takes it. Out: a `Device`. A generated module runs on every target, so it
is planned for one: `DEVICE`. "Measured" is on an H200, in fp32 if nothing else is said; `benchmarks/README.md`, "Launch
table", and `docs/design.md` have the numbers. "Chosen" is by structure, and no measurement says that it is best.
"""

from dataclasses import dataclass, replace

ANY = 1 << 31  # more fields than any kernel has: the last tier of a table


@dataclass(frozen=True, slots=True)
class LaunchRow:
    """How a kernel is launched; zero stands for what a launch does not limit. The fields are those of `Launch`."""

    elements: int  # of a tile for each thread
    warps: int  # at most
    tile: int  # elements of a program's tile at most, where the tile is not a whole row
    pack: int  # elements that several short rows fill together
    programs: int = 0  # a multiprocessor, or those that share a sum
    registers: int = 0  # the most that a thread may use
    resident: int = 0  # elements of the longest row that stays in registers
    depth: int = 0  # elements of a tile along the contracted axis, in 16 bits


Tiers = tuple[tuple[int, LaunchRow | None], ...]  # the most fields alive, and the row for that; None: as whole rows


@dataclass(frozen=True, slots=True)
class Device:
    """One architecture. "Live" fields are those alive at once for each element, accumulators included."""

    # facts of the hardware
    multiprocessors: int
    registers: int  # 32-bit registers of a multiprocessor
    thread_registers: int  # 32-bit registers of a thread, at most
    warp: int  # threads that run together
    clock: float  # 1/s
    lanes: int  # results in fp32 that a multiprocessor makes in a clock
    bandwidth: float  # of the memory, bytes/s

    # which kernels there are
    most_live: int  # live fields before a kernel's results are split
    crowded: int  # live fields from which on a thread has one element, and a fold reloads what all rows share
    most_sums: int  # matrix products that one kernel accumulates
    most_factors: int  # fields on either side of these
    waste: float  # multiplications done over those that are useful, up to which products with zeros are one product
    pays_for_a_copy: int  # fields that meet each number of a factor, from which on copying it pays in tf32

    # how they are launched, by live fields
    flat: Tiers  # a map over memory as it lies
    sweep: Tiers  # rows that are too long for registers
    sums: Tiers  # the same, where all that is stored is a value a row
    whole: Tiers  # rows that stay in registers; and maps that nothing else is said of
    tiles: dict[str, Tiers]  # by what a kernel does besides: see `launch_rows.py`
    transposing: Tiers  # a map that transposes its tiles through shared memory
    segment: Tiers  # programs that walk the places of one position
    fold: Tiers  # persistent programs, with the registers that a thread may use
    fold_of_planes: Tiers  # the same, where components lie apart
    narrow: LaunchRow  # whole rows of few features, with products of matrices inside
    contract: LaunchRow
    contract_of_one: LaunchRow  # a long sum of a single product, which programs share
    matmul: dict[str, LaunchRow]  # of stored factors, by precision

    @property
    def instruction_rate(self) -> float:
        """Instructions of a thread in a second, of all multiprocessors."""
        return self.multiprocessors * self.lanes * self.clock

    @property
    def intensity(self) -> float:
        """Instructions of a thread that all multiprocessors issue while the memory moves a byte."""
        return self.instruction_rate / self.bandwidth

    def resident(self, live: int) -> int:
        """The longest row whose fields stay in registers: a power of two. Of three quarters of the registers."""
        return 1 << (self.registers * 3 // 4 // max(1, live)).bit_length() - 1

    def programs(self, row: LaunchRow) -> int:
        """How many programs fill a multiprocessor's registers once: a second wave costs a third (140 us for 102)."""
        return self.registers // (row.warps * self.warp * row.registers)


LIGHT = 40  # live fields of which several elements fit a thread, and of which 64 registers hold one (measured for rows)
CROWDED = 121  # live fields that 168 registers hold no more beside addresses and masks (measured for folds)
COPY = LaunchRow(8, 4, 256, 1024)  # measured: what hardly more than copies, such as storing weights in another order

H200 = Device(
    multiprocessors=132,  # NVIDIA, H200 data sheet
    registers=65536,  # NVIDIA, CUDA programming guide, compute capability 9.0
    thread_registers=255,  # the same
    warp=32,
    clock=1.98e9,  # H200 data sheet, boost
    lanes=128,  # CUDA programming guide, throughput of instructions
    bandwidth=4.8e12,  # H200 data sheet
    most_live=235,  # chosen: of the 255 registers of a thread, the rest hold addresses and masks
    crowded=CROWDED,
    most_sums=2,  # chosen: each takes a thread 64 registers
    most_factors=4,  # chosen, with the sums: `fusion.py` has the measurement of what lies far beyond both
    waste=1.5,  # chosen: products with zeros are at most half as many as the useful ones
    pays_for_a_copy=3,  # measured: 338 TFLOP/s in tf32 against 282 pay where numbers meet three fields of 512 features
    flat=(
        (LIGHT, LaunchRow(4, 4, 512, 512)),
        (ANY, LaunchRow(1, 1, 32, 32)),  # measured: products of 16 blades, blade last
    ),
    sweep=(
        (LIGHT // 4, LaunchRow(2, 8, 512, 512)),
        (LIGHT, LaunchRow(4, 4, 512, 32)),
        (ANY, LaunchRow(1, 4, 128, 32)),
    ),
    sums=(  # what is only summed waits less with many threads
        (LIGHT // 4, LaunchRow(2, 8, 512, 512)),
        (LIGHT // 2, LaunchRow(1, 8, 256, 256)),
        (ANY, LaunchRow(1, 4, 128, 32)),
    ),
    whole=(  # measured: Cl(3,0) with norm at 4096 x 512 takes 56 us with 64 registers, uncapped 63
        (LIGHT // 2, LaunchRow(1, 32, 256, 256)),
        (LIGHT, LaunchRow(1, 32, 256, 256, registers=64)),
        (CROWDED - 1, LaunchRow(2, 32, 64, 32)),  # Cl(3,0,1), 4096 x 256: two elements 69 us, one 79
        (ANY, LaunchRow(1, 32, 32, 32)),
    ),
    tiles={
        "map": ((LIGHT // 4, COPY), (ANY, None)),
        # two elements a thread: 153 us in fp32 and 80 in bf16, against 156 and 87 (Cl(3,0))
        "map of products": ((LIGHT // 4, COPY), (LIGHT, None), (CROWDED - 1, LaunchRow(2, 4, 256, 256)), (ANY, None)),
        "factors": (
            (LIGHT // 4, COPY),
            (LIGHT // 2, LaunchRow(4, 4, 512, 512)),
            (LIGHT, LaunchRow(1, 4, 128, 128)),
            (ANY, None),
        ),
        "row": ((ANY, None),),
        "row of products": ((2 * LIGHT // 5, LaunchRow(2, 16, 256, 256)), (ANY, None)),
        "row of factors": ((2 * LIGHT // 5, LaunchRow(2, 16, 256, 256)), (ANY, LaunchRow(1, 32, 256, 256))),
    },
    transposing=(  # 32 rows fill 128 bytes of a store, 16 columns 64 of a load; more would spill
        (3 * LIGHT // 4, LaunchRow(2, 16, 32, 1024)),
        (9 * LIGHT // 10, LaunchRow(1, 16, 16, 512)),
        (ANY, LaunchRow(1, 8, 16, 256)),
    ),
    segment=(  # chosen: several places of a position at once while registers last, for each waits for the index; of 27
        # live fields a thread with four has 140, of 37 it spills
        (30, LaunchRow(4, 4, 128, 128)),
        (ANY, LaunchRow(1, 2, 64, 64)),
    ),
    fold=(  # two warps of 168 registers: three programs fit a quarter of the multiprocessor, of 184 two
        (66, LaunchRow(1, 2, 64, 64, registers=96)),
        (95, LaunchRow(1, 2, 64, 64, registers=128)),
        (CROWDED - 1, LaunchRow(1, 2, 64, 64, registers=168)),
        (ANY, LaunchRow(1, 1, 32, 32, programs=8)),
    ),
    fold_of_planes=(  # components that are adjacent move together and take adjacent registers; those apart fit sooner
        (66, LaunchRow(1, 2, 64, 64, registers=96)),
        (95, LaunchRow(1, 2, 64, 64, registers=128)),
        (135, LaunchRow(1, 2, 64, 64, registers=168)),
        (ANY, LaunchRow(1, 1, 32, 32, programs=8)),
    ),
    # blocks of 16 rows, the fewest for tensor cores. Measured for CGENN's block in Cl(3,0), 28 features, in tf32: four
    # warps take 46 and 25 us where eight take 72 and 39 (in fp32, and so in three passes, 64 and 29 against 80 and 45)
    narrow=LaunchRow(4, 8, 64, 512),
    # four small programs share a multiprocessor, two where they share a long sum
    contract=LaunchRow(64, 8, 128, 128 * 64, programs=2, depth=32),
    contract_of_one=LaunchRow(64, 8, 128, 128 * 128, programs=2, depth=64),
    matmul={  # in one pass of tf32 two programs share a multiprocessor, else one fills it
        "tf32": LaunchRow(64, 8, 128, 128 * 128, programs=2, depth=64),
        "tf32x3": LaunchRow(64, 8, 128, 128 * 128, programs=1, depth=64),
        "ieee": LaunchRow(64, 8, 128, 128 * 128, programs=1, depth=32),
    },
)

DEVICES = {
    "sm_90": H200,
    # AMD, CDNA3 instruction set and MI300X data sheet: 304 compute units of four times 128 KiB of vector registers, 512
    # of them for each of the 64 threads of a wavefront; 163 TFLOP/s in fp32. Nothing else was measured there: all the
    # rest is that of an H200.
    "gfx942": replace(
        H200,
        multiprocessors=304,
        registers=131072,
        thread_registers=512,
        warp=64,
        clock=2.1e9,
        lanes=128,
        bandwidth=5.3e12,
    ),
}
DEVICE = DEVICES["sm_90"]
