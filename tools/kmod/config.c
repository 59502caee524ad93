// SPDX-License-Identifier: GPL-2.0-only
/*
 * The PCI configuration space, region 7: what the device is, and the few bits of
 * it that a user can change.
 */
#include <linux/kernel.h>
#include <linux/log2.h>
#include <linux/minmax.h>
#include <linux/pci_ids.h>
#include <linux/pci_regs.h>
#include <linux/string.h>

#include "vfio_refdriver.h"

#define VENDOR_ID	0x1af4
#define DEVICE_ID	0x10f1
#define REVISION	1

#define COMMAND_BITS	(PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY |	\
			 PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE)

/* The least that a BAR decodes; the bits below say what it is. */
#define BAR_LEAST	16U

static void put(struct refd_device *refd, u32 place, u32 width, u32 value)
{
	__le32 bytes = cpu_to_le32(value);

	memcpy(refd->config + place, &bytes, width);
}

/* Gives all of it its initial value. */
void refd_config_reset(struct refd_device *refd)
{
	memset(refd->config, 0, sizeof(refd->config));
	put(refd, PCI_VENDOR_ID, 2, VENDOR_ID);
	put(refd, PCI_DEVICE_ID, 2, DEVICE_ID);
	put(refd, PCI_CLASS_REVISION, 4, PCI_CLASS_SYSTEM_OTHER << 16 | REVISION);
	put(refd, PCI_SUBSYSTEM_VENDOR_ID, 2, VENDOR_ID);
	put(refd, PCI_SUBSYSTEM_ID, 2, DEVICE_ID);
}

/* The address bits of a BAR that decodes the given number of bytes, rounded up to a power of two. */
static u32 address_bits(u32 size)
{
	return size ? -(u32)roundup_pow_of_two(max(size, BAR_LEAST)) : 0;
}

/* The writable bits of the four bytes at this offset. */
static u32 writable(struct refd_device *refd, u32 place)
{
	switch (place) {
	case PCI_COMMAND:
		return COMMAND_BITS;
	case PCI_CACHE_LINE_SIZE:	/* and the latency timer after it */
		return 0xffff;
	case PCI_BASE_ADDRESS_0 ... PCI_BASE_ADDRESS_5:
		return address_bits(refd_region_size(refd, (place - PCI_BASE_ADDRESS_0) / 4));
	case PCI_INTERRUPT_LINE:
		return 0xff;
	default:
		return 0;
	}
}

/* Writes bytes at any offset, wholly inside; read-only bits keep their value. */
void refd_config_write(struct refd_device *refd, u32 place, const u8 *bytes, u32 count)
{
	u32 each;

	for (each = place; each < place + count; each++) {
		u8 bits = writable(refd, round_down(each, 4)) >> each % 4 * 8;

		refd->config[each] = (refd->config[each] & ~bits) | (bytes[each - place] & bits);
	}
}
