// SPDX-License-Identifier: GPL-2.0-only
/*
 * The registers of region 9: where they are, and what reading and writing them does.
 */
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/string.h>

#include "vfio_refdriver.h"

const struct refd_place refd_places[REFD_FIELD_COUNT] = {
	[REFD_FIELD_STATE]	= { 0, 4 },
	[REFD_FIELD_RESERVED]	= { 4, 4 },
	[REFD_FIELD_PENDING]	= { 8, 8 },
	[REFD_FIELD_OFFSET]	= { 16, 8 },
	[REFD_FIELD_SIZE]	= { 24, 8 },
};

/* The register that an access is exactly; REFD_FIELD_COUNT if there is no such register. */
enum refd_field refd_find(struct refd_device *refd, u32 offset, u32 width)
{
	enum refd_field field;

	for (field = 0; field < REFD_FIELD_COUNT; field++)
		if (offset == refd_places[field].offset && width == refd_places[field].width)
			break;
	return field;
}

/* What a read of the register does before the value is fetched. */
int refd_touch(struct refd_device *refd, enum refd_field field)
{
	switch (field) {
	case REFD_FIELD_PENDING:
		/* The user has finished with the buffer that was offered. */
		if (refd->transfer.staged)
			refd->ops->advance(refd);
		return 0;
	case REFD_FIELD_OFFSET:
	case REFD_FIELD_SIZE:
		return refd_stage(refd);
	default:
		return 0;
	}
}

/* The value of the register; fetching it has no effect. */
u64 refd_peek(struct refd_device *refd, enum refd_field field)
{
	switch (field) {
	case REFD_FIELD_STATE:
		return refd->state;
	case REFD_FIELD_PENDING:
		return refd_left(refd);
	case REFD_FIELD_OFFSET:
		return refd_data_offset(refd);
	case REFD_FIELD_SIZE:
		return refd->transfer.size;
	default:
		return 0;
	}
}

/*
 * Reads from the registers, at most REFD_HEADER_SIZE bytes. Returns the number of
 * bytes or an error.
 */
ssize_t refd_migration_read(struct refd_device *refd, u32 offset, u32 width, u8 *bytes)
{
	enum refd_field field = refd->ops->find(refd, offset, width);
	__le64 value;
	int ret;

	if (field == REFD_FIELD_COUNT)
		return -EINVAL;
	ret = refd->ops->touch(refd, field);
	if (ret)
		return ret;
	value = cpu_to_le64(refd->ops->peek(refd, field));
	memcpy(bytes, &value, width);
	return width;
}

/* Writes one register. Returns the number of bytes or an error. */
ssize_t refd_store(struct refd_device *refd, enum refd_field field, u64 value)
{
	int ret = 0;

	switch (field) {
	case REFD_FIELD_STATE:
		return refd->ops->write_state(refd, value);
	case REFD_FIELD_RESERVED:
		break;
	case REFD_FIELD_SIZE:
		ret = refd->ops->consume(refd, value);
		break;
	default:
		ret = refd_read_only_refused() ? -EINVAL : 0;
	}
	return ret ? ret : refd_places[field].width;
}

/* Writes to the registers. Returns the number of bytes or an error. */
ssize_t refd_migration_write(struct refd_device *refd, u32 offset, u32 width, u64 value)
{
	enum refd_field field = refd->ops->find(refd, offset, width);

	return field == REFD_FIELD_COUNT ? -EINVAL : refd->ops->store(refd, field, value);
}
