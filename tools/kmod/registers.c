// SPDX-License-Identifier: GPL-2.0-only
/*
 * Region 0, and the clock behind COUNTER.
 */
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/ktime.h>
#include <linux/minmax.h>
#include <linux/time64.h>

#include "vfio_refdriver.h"

#define REFD_ID			0x314d4656

enum {
	AT_ID		= 0x00,
	AT_CONTROL	= 0x04,
	AT_COUNTER	= 0x08,
	AT_DMA_ADDRESS	= 0x10,
	AT_DMA_LENGTH	= 0x18,
	AT_DOORBELL	= 0x1c,
	AT_STATUS	= 0x20,
	AT_SCRATCH0	= 0x28,
	AT_SCRATCH1	= 0x30,
	AT_SCRATCH2	= 0x38,
	AT_FAULT	= 0x40,
	AT_SAVE_FAULT	= 0x44,
	AT_LOAD_FAULT	= 0x48,
	AT_PIN_ADDRESS	= 0x50,
	AT_PIN_LENGTH	= 0x58,
	AT_PIN		= 0x5c,
};

static const struct layout {
	u8 offset;
	u8 width;
	bool read_only;
	enum refd_register which;	/* REFD_REG_COUNT: not part of the state */
} layout[] = {
	{ AT_ID,		4, true,	REFD_REG_COUNT },
	{ AT_CONTROL,		4, false,	REFD_REG_CONTROL },
	{ AT_COUNTER,		8, true,	REFD_REG_COUNTER },
	{ AT_DMA_ADDRESS,	8, false,	REFD_REG_DMA_ADDRESS },
	{ AT_DMA_LENGTH,	4, false,	REFD_REG_DMA_LENGTH },
	{ AT_DOORBELL,		4, false,	REFD_REG_COUNT },
	{ AT_STATUS,		4, true,	REFD_REG_STATUS },
	{ AT_SCRATCH0,		8, false,	REFD_REG_SCRATCH0 },
	{ AT_SCRATCH1,		8, false,	REFD_REG_SCRATCH1 },
	{ AT_SCRATCH2,		8, false,	REFD_REG_SCRATCH2 },
	{ AT_FAULT,		4, false,	REFD_REG_COUNT },
	{ AT_SAVE_FAULT,	4, false,	REFD_REG_COUNT },
	{ AT_LOAD_FAULT,	4, false,	REFD_REG_COUNT },
	{ AT_PIN_ADDRESS,	8, false,	REFD_REG_COUNT },
	{ AT_PIN_LENGTH,	4, false,	REFD_REG_COUNT },
	{ AT_PIN,		4, false,	REFD_REG_COUNT },
};

u64 refd_register(struct refd_device *refd, enum refd_register which)
{
	return le64_to_cpu(refd->live->registers[which]);
}

void refd_set_register(struct refd_device *refd, enum refd_register which, u64 value)
{
	refd->live->registers[which] = cpu_to_le64(value);
}

/* Adds the time run since the last call to COUNTER. */
void refd_clock_fold(struct refd_device *refd)
{
	u64 now = ktime_get_ns();
	u64 to = min(now, refd->clock_until);

	if (to > refd->clock_since)
		refd_set_register(refd, REFD_REG_COUNTER,
				  refd_register(refd, REFD_REG_COUNTER) + to - refd->clock_since);
	refd->clock_since = now;
}

/* Whether the device runs at this moment: counts, and does DMA. */
bool refd_works(struct refd_device *refd)
{
	return ktime_get_ns() < refd->clock_until;
}

/* Whether the device runs in its present state: bit 0 says so. */
bool refd_should_work(struct refd_device *refd)
{
	return refd->state & REFD_STATE_BIT_RUNNING;
}

/* The device stops as of the last reading of the clock. */
void refd_halt(struct refd_device *refd)
{
	refd->clock_until = refd->clock_since;
}

/* Has the device run or stop as its state and the options say. */
void refd_settle(struct refd_device *refd)
{
	refd->ops->lay_out(refd);
	refd_clock_fold(refd);
	if (refd->ops->should_work(refd))
		refd->clock_until = U64_MAX;
	else if (refd->clock_until == U64_MAX)
		refd->ops->halt(refd);
	refd_stream_start(refd);
}

/*
 * The register at exactly this place. A null pointer stands for unnamed space,
 * an error for an access that touches a register in any other way.
 */
static const struct layout *find(u32 offset, u32 width)
{
	const struct layout *each;

	if (width != 1 && width != 2 && width != 4 && width != 8)
		return ERR_PTR(-EINVAL);
	for (each = layout; each < layout + ARRAY_SIZE(layout); each++) {
		if (offset == each->offset && width == each->width)
			return each;
		if (offset < each->offset + each->width && each->offset < offset + width)
			return ERR_PTR(-EINVAL);
	}
	return NULL;
}

int refd_registers_read(struct refd_device *refd, u32 offset, u32 width, u64 *value)
{
	const struct layout *found = find(offset, width);

	*value = 0;
	if (IS_ERR_OR_NULL(found))
		return PTR_ERR_OR_ZERO(found);
	switch (offset) {
	case AT_ID:
		*value = REFD_ID;
		break;
	case AT_DOORBELL:
	case AT_PIN:
		break;
	case AT_FAULT:
		*value = refd->fault;
		break;
	case AT_SAVE_FAULT:
		*value = refd->save_fault;
		break;
	case AT_LOAD_FAULT:
		*value = refd->load_fault;
		break;
	case AT_PIN_ADDRESS:
		*value = refd->pin_address;
		break;
	case AT_PIN_LENGTH:
		*value = refd->pin_length;
		break;
	case AT_COUNTER:
		refd_clock_fold(refd);
		*value = refd_register(refd, REFD_REG_COUNTER) / NSEC_PER_USEC;
		break;
	default:
		*value = refd_register(refd, found->which);
	}
	return 0;
}

int refd_registers_write(struct refd_device *refd, u32 offset, u32 width, u64 value)
{
	const struct layout *found = find(offset, width);

	if (IS_ERR_OR_NULL(found))
		return PTR_ERR_OR_ZERO(found);
	if (found->read_only)
		return refd_read_only_refused() ? -EINVAL : 0;
	switch (offset) {
	case AT_CONTROL:
		refd_set_register(refd, REFD_REG_CONTROL, value & REFD_CONTROL_STREAM);
		refd_stream_start(refd);
		break;
	case AT_DMA_LENGTH:
		if (value > REFD_DMA_MAX)
			return -EINVAL;
		refd_set_register(refd, REFD_REG_DMA_LENGTH, value);
		break;
	case AT_DOORBELL:
		refd_doorbell(refd, value);
		break;
	case AT_FAULT:
		if (value > REFD_FAULT_KEEP)
			return -EINVAL;
		refd->fault = value;
		break;
	case AT_SAVE_FAULT:
		refd->save_fault = value;
		break;
	case AT_LOAD_FAULT:
		refd->load_fault = value;
		break;
	case AT_PIN_ADDRESS:
		refd->pin_address = value;
		break;
	case AT_PIN_LENGTH:
		refd->pin_length = value;
		break;
	case AT_PIN:
		return refd_pin(refd, value, refd->pin_address, refd->pin_length);
	default:
		refd_set_register(refd, found->which, value);
	}
	return 0;
}
