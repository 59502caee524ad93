# SPDX-License-Identifier: GPL-2.0-only
"""The ABI in cffi, compared with the installed linux/vfio.h by a compiled C program.

The v1 region, which Linux 5.18 removed from that header, is compared with the numbers of the specification.
"""

from __future__ import annotations

import shutil
import subprocess

import pytest

from vfio_compliance.uapi import migration_v1, type1, vfio

ffi = vfio.ffi

STRUCTURES = [
    "vfio_group_status",
    "vfio_info_cap_header",
    "vfio_region_info",
    "vfio_region_sparse_mmap_area",
    "vfio_region_info_cap_sparse_mmap",
    "vfio_region_info_cap_type",
    "vfio_irq_info",
    "vfio_irq_set",
    "vfio_iommu_type1_info_cap_migration",
    "vfio_iommu_type1_dma_map",
    "vfio_bitmap",
    "vfio_iommu_type1_dma_unmap",
    "vfio_iommu_type1_dirty_bitmap",
    "vfio_iommu_type1_dirty_bitmap_get",
]

#: Structures that have grown since, or whose tail was renamed: their fields are compared, but not their size.
GROWN = ["vfio_device_info", "vfio_iommu_type1_info"]

#: Our own fields for padding.
PADDING = {"pad"}

#: Prefixes of the header's names for members of our enumerations.
FLAGS = {
    vfio.GroupFlags: "VFIO_GROUP_FLAGS_",
    vfio.DeviceFlags: "VFIO_DEVICE_FLAGS_",
    vfio.RegionFlags: "VFIO_REGION_INFO_FLAG_",
    vfio.IrqInfoFlags: "VFIO_IRQ_INFO_",
    vfio.IrqSetFlags: "VFIO_IRQ_SET_",
    type1.IommuInfoFlags: "VFIO_IOMMU_INFO_",
    type1.DmaMapFlags: "VFIO_DMA_MAP_FLAG_",
    type1.DmaUnmapFlags: "VFIO_DMA_UNMAP_FLAG_",
    type1.DirtyPagesFlags: "VFIO_IOMMU_DIRTY_PAGES_FLAG_",
}


def numbers() -> dict[str, int]:
    """Every C expression to evaluate, with our value for it."""
    expected: dict[str, int] = {}
    for module in (vfio, type1):
        expected |= {key: value for key, value in vars(module).items() if key.startswith("VFIO_")}
    for enumeration, prefix in FLAGS.items():
        expected |= {f"{prefix}{member.name}": int(member) for member in enumeration}
    for name in STRUCTURES + GROWN:
        struct = ffi.typeof(f"struct {name}")
        if name in STRUCTURES:
            expected[f"sizeof(struct {name})"] = ffi.sizeof(f"struct {name}")
        for field, described in struct.fields:
            if field not in PADDING:
                expected[f"offsetof(struct {name}, {field})"] = described.offset
                if described.type.kind == "primitive":
                    expected[f"sizeof(((struct {name} *)0)->{field})"] = ffi.sizeof(described.type)
    return expected


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """The values of the same expressions by the C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "a C compiler is needed: apt-get install gcc libc6-dev"
    folder = tmp_path_factory.mktemp("uapi")
    lines = [f'  printf("%llu\\n", (unsigned long long)({expression}));' for expression in numbers()]
    source = "#include <stdio.h>\n#include <stddef.h>\n#include <linux/vfio.h>\nint main(void)\n{\n"
    (folder / "numbers.c").write_text(source + "\n".join(lines) + "\n  return 0;\n}\n")
    subprocess.run([compiler, "-o", folder / "numbers", folder / "numbers.c"], check=True)
    printed = subprocess.run([folder / "numbers"], check=True, capture_output=True, text=True).stdout.split()
    return dict(zip(numbers(), map(int, printed), strict=True))


@pytest.mark.parametrize("expression", numbers())
def test_value_in_the_header(compiled: dict[str, int], expression: str) -> None:
    """It is the same as ours."""
    assert compiled[expression] == numbers()[expression]


@pytest.mark.parametrize(
    ("field", "offset", "width"),
    [("device_state", 0, 4), ("reserved", 4, 4), ("pending_bytes", 8, 8), ("data_offset", 16, 8), ("data_size", 24, 8)],
)
def test_migration_header(field: str, offset: int, width: int) -> None:
    """The structure and the register table agree with the specification (kabi v23, lines 244-270)."""
    struct = ffi.typeof("struct vfio_device_migration_info")
    described = dict(struct.fields)[field]
    assert (described.offset, ffi.sizeof(described.type)) == (offset, width)
    assert migration_v1.Register(field, offset, width) in migration_v1.REGISTERS
    assert ffi.sizeof("struct vfio_device_migration_info") == migration_v1.HEADER_SIZE == 32


def test_migration_numbers() -> None:
    """Types, bits and states are as in the specification (kabi v23, lines 38, 47, 91-102, 246-252)."""
    assert (migration_v1.VFIO_REGION_TYPE_MIGRATION, migration_v1.VFIO_REGION_SUBTYPE_MIGRATION) == (3, 1)
    assert migration_v1.VFIO_DEVICE_STATE_MASK == 0b111
    running, saving, resuming = 0b001, 0b010, 0b100
    state = migration_v1.DeviceState
    assert (running, 0) == (state.RUNNING, state.STOP)
    assert (running | saving, saving, resuming) == (state.PRE_COPY, state.STOP_AND_COPY, state.RESUMING)
    assert saving | resuming == state.ERROR
