// SPDX-License-Identifier: GPL-2.0-only
/*
 * Region 9: device_state and its transitions, and the passage of the device's
 * state through the data section.
 *
 * The image travels in buffers, each a struct refd_chunk and the bytes of the
 * image that it names. Pre-copy offers the memory once. Stop-and-copy offers the
 * whole image from its start to its end, whatever pre-copy offered before, and
 * only that sequence makes a restore complete.
 */
#include <linux/bits.h>
#include <linux/crc32.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/string.h>

#include "defects.h"
#include "vfio_refdriver.h"

#define CHUNK_MAGIC	0x444d4656	/* "VFMD" */
#define CHUNK_VERSION	1
#define CHUNK_FINAL	BIT(0)		/* offered in stop-and-copy */

struct refd_chunk {
	__le32 magic;
	__le16 version;
	__le16 flags;
	__le32 offset;			/* in the image, bytes */
	__le32 length;
	__le32 total;			/* size of the image */
	__le32 crc;			/* of all before, then the bytes */
	u8 bytes[];
};

enum field {
	FIELD_STATE,
	FIELD_RESERVED,
	FIELD_PENDING,
	FIELD_OFFSET,
	FIELD_SIZE,
	FIELD_COUNT
};

struct place {
	u8 offset;
	u8 width;
};

static const struct place places[FIELD_COUNT] = {
	[FIELD_STATE]		= { 0, 4 },
	[FIELD_RESERVED]	= { 4, 4 },
	[FIELD_PENDING]		= { 8, 8 },
	[FIELD_OFFSET]		= { 16, 8 },
	[FIELD_SIZE]		= { 24, 8 },
};

static const struct place misplaced[FIELD_COUNT] = {
	[FIELD_STATE]		= { 0, 4 },
	[FIELD_RESERVED]	= { 12, 4 },
	[FIELD_PENDING]		= { 4, 8 },
	[FIELD_OFFSET]		= { 16, 8 },
	[FIELD_SIZE]		= { 24, 8 },
};

/* For each state, the states that the interface draws an arrow to. */
static const u8 drawn[] = {
	[REFD_STATE_RUNNING]		= BIT(REFD_STATE_STOP) | BIT(REFD_STATE_STOP_AND_COPY) |
					  BIT(REFD_STATE_PRE_COPY) | BIT(REFD_STATE_RESUMING),
	[REFD_STATE_PRE_COPY]		= BIT(REFD_STATE_STOP_AND_COPY),
	[REFD_STATE_STOP_AND_COPY]	= BIT(REFD_STATE_STOP),
	[REFD_STATE_RESUMING]		= BIT(REFD_STATE_RUNNING),
	[REFD_STATE_MASK]		= 0,	/* every value of the three bits has a place */
};

#define ANY_STATE	GENMASK(REFD_STATE_MASK, 0)

/* Defects that refuse a transition */
static const struct refusal {
	enum refd_defect defect;
	u8 from;
	u8 to;			/* a set of states */
	bool pending;		/* only while bytes are pending */
} refusals[] = {
	{ REFD_DEFECT_STOP_REFUSED, REFD_STATE_RUNNING, BIT(REFD_STATE_STOP), false },
	{ REFD_DEFECT_STOP_AND_COPY_TO_STOP_REFUSED, REFD_STATE_STOP_AND_COPY,
	  BIT(REFD_STATE_STOP), false },
	{ REFD_DEFECT_PRE_COPY_REFUSED, REFD_STATE_RUNNING, BIT(REFD_STATE_PRE_COPY), false },
	{ REFD_DEFECT_PRE_COPY_TO_STOP_AND_COPY_REFUSED, REFD_STATE_PRE_COPY,
	  BIT(REFD_STATE_STOP_AND_COPY), false },
	{ REFD_DEFECT_RESUMING_REFUSED, REFD_STATE_RUNNING, BIT(REFD_STATE_RESUMING), false },
	{ REFD_DEFECT_PRE_COPY_MUST_DRAIN, REFD_STATE_PRE_COPY, ANY_STATE, true },
	{ REFD_DEFECT_STOP_AND_COPY_MUST_DRAIN, REFD_STATE_STOP_AND_COPY, ANY_STATE, true },
};

/* The state that the device is in, whatever it reports. */
u32 refd_state(struct refd_device *refd)
{
	return refd->state & REFD_STATE_MASK;
}

static bool is_saving(u32 state)
{
	return state == REFD_STATE_PRE_COPY || state == REFD_STATE_STOP_AND_COPY;
}

/* The largest buffer, bytes. */
static u32 capacity(struct refd_device *refd)
{
	return REFD_MIGRATION_SIZE - refd->buffer_offset;
}

static struct refd_chunk *window_chunk(struct refd_device *refd)
{
	return refd->window + refd->buffer_offset;
}

/* Bytes of the image that fit into one buffer. */
static u32 chunk_bytes(struct refd_device *refd)
{
	return capacity(refd) - sizeof(struct refd_chunk);
}

static u32 chunk_crc(const struct refd_chunk *chunk, const u8 *bytes, u32 length)
{
	return crc32(crc32(~0, chunk, offsetof(struct refd_chunk, crc)), bytes, length);
}

/* Saving */

static void begin_saving(struct refd_device *refd, bool final)
{
	struct refd_transfer *transfer = &refd->transfer;

	/* The defect serves the last snapshot taken in pre-copy, if there was one. */
	if (!final || !defect(PRE_COPY_SNAPSHOT_ONLY) ||
	    refd->previous_state != REFD_STATE_PRE_COPY) {
		refd_clock_fold(refd);
		*refd->image = *refd->live;
	}
	transfer->position = final ? 0 : offsetof(struct refd_image, memory);
	transfer->end = sizeof(struct refd_image);
	if (defect(SAVE_STREAM_TRUNCATED))
		transfer->end -= (transfer->end - 1 - transfer->position) % chunk_bytes(refd) + 1;
	if (defect(SAVING_IGNORED))
		transfer->end = transfer->position;
}

/* Bytes that the user still has to fetch, headers included. */
static u64 pending_bytes(struct refd_device *refd)
{
	struct refd_transfer *transfer = &refd->transfer;
	u32 left = transfer->end - transfer->position;

	if (!is_saving(refd_state(refd)))
		return 0;
	return left + DIV_ROUND_UP(left, chunk_bytes(refd)) * sizeof(struct refd_chunk);
}

/* Makes the next buffer available, unless there is one already or none left. */
static void stage(struct refd_device *refd)
{
	struct refd_transfer *transfer = &refd->transfer;
	u32 length = min(chunk_bytes(refd), transfer->end - transfer->position);
	const u8 *bytes = (const u8 *)refd->image + transfer->position;
	bool final = refd_state(refd) == REFD_STATE_STOP_AND_COPY;
	struct refd_chunk chunk = {
		.magic = cpu_to_le32(CHUNK_MAGIC),
		.version = cpu_to_le16(CHUNK_VERSION),
		.flags = cpu_to_le16(final ? CHUNK_FINAL : 0),
		.offset = cpu_to_le32(transfer->position),
		.length = cpu_to_le32(length),
		.total = cpu_to_le32(sizeof(struct refd_image)),
	};

	if (!is_saving(refd_state(refd)) || transfer->staged || !length)
		return;
	chunk.crc = cpu_to_le32(chunk_crc(&chunk, bytes, length));
	memcpy(window_chunk(refd), &chunk, sizeof(chunk));
	memcpy(window_chunk(refd)->bytes, bytes, length);
	transfer->staged = length;
	transfer->size = sizeof(chunk) + length;
}

/* The user is done with the buffer that it was given. */
static void next_iteration(struct refd_device *refd)
{
	struct refd_transfer *transfer = &refd->transfer;

	if (!transfer->staged)
		return;
	transfer->position += transfer->staged;
	transfer->staged = 0;
	transfer->size = 0;
}

/* Resuming */

static void begin_resuming(struct refd_device *refd)
{
	refd_clock_fold(refd);
	*refd->image = *refd->live;
}

static bool registers_valid(const __le64 *registers)
{
	return !(le64_to_cpu(registers[REFD_REG_CONTROL]) & ~(u64)REFD_CONTROL_STREAM) &&
	       !(le64_to_cpu(registers[REFD_REG_STATUS]) &
		 ~(u64)(REFD_STATUS_OK | REFD_STATUS_FAILED)) &&
	       le64_to_cpu(registers[REFD_REG_DMA_LENGTH]) <= REFD_DMA_MAX;
}

/* Puts one buffer, which the user cannot touch any more, into the image. */
static int apply_chunk(struct refd_device *refd, const struct refd_chunk *chunk, u32 size)
{
	struct refd_transfer *transfer = &refd->transfer;
	u32 flags = le16_to_cpu(chunk->flags);
	u32 offset = le32_to_cpu(chunk->offset);
	u32 length = size - sizeof(*chunk);

	if (le32_to_cpu(chunk->magic) != CHUNK_MAGIC ||
	    le16_to_cpu(chunk->version) != CHUNK_VERSION || flags & ~CHUNK_FINAL ||
	    le32_to_cpu(chunk->length) != length || !length ||
	    le32_to_cpu(chunk->total) != sizeof(struct refd_image) ||
	    offset > sizeof(struct refd_image) || length > sizeof(struct refd_image) - offset ||
	    le32_to_cpu(chunk->crc) != chunk_crc(chunk, chunk->bytes, length))
		return -EINVAL;
	/* The registers come whole, and with values that they can have. */
	if (offset < offsetof(struct refd_image, memory) &&
	    (offset || length < offsetof(struct refd_image, memory) ||
	     !registers_valid((const __le64 *)chunk->bytes)))
		return -EINVAL;
	/* The whole may start anew; apart from that it comes in order. */
	if (flags & CHUNK_FINAL && offset && offset != transfer->position)
		return -EINVAL;

	if (defect(RESUME_LAST_BUFFER_ONLY))
		*refd->image = *refd->live;
	memcpy((u8 *)refd->image + offset, chunk->bytes, length);
	transfer->begun = true;
	if (flags & CHUNK_FINAL)
		transfer->position = offset + length;
	transfer->complete = flags & CHUNK_FINAL &&
			     transfer->position == sizeof(struct refd_image);
	return 0;
}

/* A write of data_size: the buffer is consumed when it returns. */
static int consume(struct refd_device *refd, u64 size)
{
	if (refd_state(refd) != REFD_STATE_RESUMING || defect(RESUMING_DATA_REFUSED))
		return -EINVAL;
	if (size > capacity(refd) || (size && size < sizeof(struct refd_chunk)))
		return -EINVAL;
	if (size && !defect(RESUMING_DATA_IGNORED)) {
		int ret;

		/* The window may be mapped: what is checked must not change any more. */
		memcpy(refd->bounce, window_chunk(refd), size);
		ret = apply_chunk(refd, refd->bounce, size);
		if (ret)
			return ret;
	}
	refd->transfer.size = size;
	return 0;
}

static bool is_half_restored(struct refd_device *refd)
{
	return refd->transfer.begun && !refd->transfer.complete && !defect(SAVE_STREAM_TRUNCATED);
}

/* The device becomes what was restored; half of a state is dropped. */
static void commit(struct refd_device *refd)
{
	if (!refd->transfer.begun || is_half_restored(refd))
		return;
	refd_clock_fold(refd);
	*refd->live = *refd->image;
}

/* device_state */

/* Enters a state whatever the device was doing. */
void refd_set_state(struct refd_device *refd, u32 state)
{
	refd->previous_state = refd->state;
	refd->state = state;
	refd->stuck = false;
	refd->pending_written = false;
	refd->data_offset = 0;
	refd->transfer = (struct refd_transfer) { 0 };
	refd_settle(refd);
	if (is_saving(refd_state(refd)))
		begin_saving(refd, refd_state(refd) == REFD_STATE_STOP_AND_COPY);
	else if (refd_state(refd) == REFD_STATE_RESUMING)
		begin_resuming(refd);
}

static bool can_be_written(u32 state)
{
	switch (state) {
	case REFD_STATE_STOP:
	case REFD_STATE_RUNNING:
	case REFD_STATE_STOP_AND_COPY:
	case REFD_STATE_PRE_COPY:
	case REFD_STATE_RESUMING:
		return true;
	case 5:
		return defect(STATE_INVALID_5_ACCEPTED);
	case 6:
		return defect(STATE_ERROR_ACCEPTED);
	default:
		return defect(STATE_INVALID_7_ACCEPTED);
	}
}

static int defect_refusal(struct refd_device *refd, u32 from, u32 to)
{
	const struct refusal *each;

	if (defect(STATE_LATCHED_AFTER_FAILURE) && refd->refused)
		return -EIO;
	for (each = refusals; each < refusals + ARRAY_SIZE(refusals); each++)
		if (refd_defect_chosen(each->defect) && from == each->from &&
		    BIT(to) & each->to && (!each->pending || pending_bytes(refd)))
			return each->pending ? -EBUSY : -EINVAL;
	return 0;
}

static u32 third_state(u32 from, u32 to)
{
	u32 state = REFD_STATE_STOP;

	while (state == from || state == to)
		state++;
	return state;
}

static int change_state(struct refd_device *refd, u32 value)
{
	u32 from = refd_state(refd), to = value & REFD_STATE_MASK;
	bool is_drawn = BIT(to) & drawn[from];
	u32 fault = refd->fault;
	int ret;

	refd->fault = 0;
	if (fault) {
		if (fault == REFD_FAULT_ERROR)
			refd_set_state(refd, REFD_STATE_ERROR);
		return -EIO;
	}
	if (defect(RESERVED_BITS_CONFUSE) && value & ~REFD_STATE_MASK) {
		refd_set_state(refd, (value & ~REFD_STATE_MASK) | (to << 1 & REFD_STATE_MASK));
		return 0;
	}
	if (!can_be_written(to))
		return -EINVAL;
	if (from == REFD_STATE_ERROR &&
	    !(defect(ERROR_LEFT_BY_WRITE) && to == REFD_STATE_RUNNING))
		return -EIO;
	ret = defect_refusal(refd, from, to);
	if (ret)
		return ret;
	if (!is_drawn && refd_undrawn_refused() && from != REFD_STATE_ERROR)
		return -EINVAL;

	if (from == to) {
		if (defect(SELF_WRITE_MOVES))
			refd_set_state(refd, REFD_STATE_STOP);
		return 0;
	}
	if (from == REFD_STATE_RESUMING) {
		if (to & REFD_STATE_BIT_RUNNING && is_half_restored(refd))
			return -EINVAL;
		commit(refd);
	}
	if (!is_drawn && defect(UNDRAWN_WRONG_STATE))
		to = third_state(from, to);
	refd_set_state(refd, to);
	if (from == REFD_STATE_RESUMING && to == REFD_STATE_RUNNING &&
	    defect(RESUMED_STAYS_STOPPED)) {
		refd->stuck = true;
		refd_settle(refd);
	}
	return 0;
}

/* A write of device_state: the number of bytes to answer, or an error. */
static ssize_t store_state(struct refd_device *refd, u32 value)
{
	bool was_error = refd_state(refd) == REFD_STATE_ERROR;
	int ret = change_state(refd, value);

	refd->refused = ret;
	if (!ret)
		return defect(STATE_WRITE_SHORT) ? 0 : sizeof(u32);
	if (defect(STATE_FAILURE_STORES) && !was_error)
		refd_set_state(refd, value & REFD_STATE_MASK);
	if (defect(STATE_FAILURE_SILENT))
		return sizeof(u32);
	if (defect(STATE_FAILURE_SHORT))
		return 2;
	return ret;
}

static u32 reported_state(struct refd_device *refd)
{
	if (defect(STATE_FAILURE_REPORTS_7) && refd->refused)
		return 7;
	if (defect(STATE_READ_STALE))
		return refd->previous_state;
	if (defect(STOP_AND_COPY_READS_STOP) && refd->state == REFD_STATE_STOP_AND_COPY)
		return REFD_STATE_STOP;
	return refd->state;
}

/* The registers */

static enum field find(u32 offset, u32 width)
{
	const struct place *each = defect(PENDING_MISPLACED) ? misplaced : places;
	enum field field;

	for (field = 0; field < FIELD_COUNT; field++, each++)
		if (offset == each->offset && width == each->width)
			break;
	return field;
}

/* What the register holds; looking has no effect. */
static u64 peek(struct refd_device *refd, enum field field)
{
	switch (field) {
	case FIELD_STATE:
		return reported_state(refd);
	case FIELD_RESERVED:
		if (defect(RESERVED_GARBAGE))
			return 0xdeadbeef;
		return defect(RESERVED_STORED) ? refd->reserved : 0;
	case FIELD_PENDING:
		return refd->pending_written ? refd->pending : pending_bytes(refd);
	case FIELD_OFFSET:
		if (defect(DATA_OFFSET_ZERO))
			return 0;
		return refd->data_offset ?: refd->buffer_offset;
	case FIELD_SIZE:
		return refd->transfer.size;
	default:
		return 0;
	}
}

/* What a read of the register brings about before the value is taken. */
static int touch(struct refd_device *refd, enum field field)
{
	switch (field) {
	case FIELD_RESERVED:
		return defect(RESERVED_READ_REFUSED) ? -EINVAL : 0;
	case FIELD_PENDING:
		next_iteration(refd);
		if (defect(STATE_CHANGES_BY_ITSELF) &&
		    refd_state(refd) == REFD_STATE_STOP_AND_COPY)
			refd_set_state(refd, REFD_STATE_STOP);
		return 0;
	case FIELD_OFFSET:
	case FIELD_SIZE:
		stage(refd);
		return 0;
	default:
		return 0;
	}
}

/* Whether an access touches more than one register. */
static bool spans_several(u32 offset, u32 width)
{
	unsigned int touched = 0;
	enum field field;

	for (field = 0; field < FIELD_COUNT; field++)
		touched += offset < places[field].offset + places[field].width &&
			   places[field].offset < offset + width;
	return touched > 1;
}

/* Reads at other places than a register's own, which only defects allow. */
static ssize_t read_loosely(struct refd_device *refd, u32 offset, u32 width, u8 *bytes)
{
	u8 header[REFD_HEADER_SIZE];
	enum field field;
	__le64 value;

	if (offset >= REFD_HEADER_SIZE || width > REFD_HEADER_SIZE - offset)
		return -EINVAL;
	if (!(defect(WIDTH_BYTE_READ_ACCEPTED) && width == 1) &&
	    !(defect(WIDTH_STRADDLING_READ_ACCEPTED) && spans_several(offset, width)))
		return -EINVAL;
	for (field = 0; field < FIELD_COUNT; field++) {
		value = cpu_to_le64(peek(refd, field));
		memcpy(header + places[field].offset, &value, places[field].width);
	}
	memcpy(bytes, header + offset, width);
	return width;
}

/*
 * Reads from the registers, at most REFD_HEADER_SIZE bytes. Returns the number of
 * bytes or an error.
 */
ssize_t refd_migration_read(struct refd_device *refd, u32 offset, u32 width, u8 *bytes)
{
	enum field field;
	__le64 value;
	int ret;

	if (defect(HEADER_SHIFTED))
		offset -= 8;
	field = find(offset, width);
	if (field == FIELD_COUNT)
		return read_loosely(refd, offset, width, bytes);
	ret = touch(refd, field);
	if (ret)
		return ret;
	value = cpu_to_le64(peek(refd, field));
	memcpy(bytes, &value, width);
	return width;
}

static int refused_as_read_only(void)
{
	return refd_read_only_refused() ? -EINVAL : 0;
}

static int write_field(struct refd_device *refd, enum field field, u64 value)
{
	switch (field) {
	case FIELD_RESERVED:
		if (defect(RESERVED_WRITE_REFUSED))
			return -EINVAL;
		refd->reserved = value;
		return 0;
	case FIELD_PENDING:
		if (!defect(PENDING_WRITABLE))
			return refused_as_read_only();
		refd->pending = value;
		refd->pending_written = true;
		return 0;
	case FIELD_OFFSET:
		if (!defect(DATA_OFFSET_WRITABLE))
			return refused_as_read_only();
		refd->data_offset = value;
		return 0;
	default:
		return consume(refd, value);
	}
}

/* Writes to the registers. Returns the number of bytes or an error. */
ssize_t refd_migration_write(struct refd_device *refd, u32 offset, u32 width, u64 value)
{
	enum field field;
	ssize_t ret;

	if (defect(HEADER_SHIFTED))
		offset -= 8;
	field = find(offset, width);
	if (field == FIELD_STATE)
		return store_state(refd, value);
	if (field < FIELD_COUNT) {
		ret = write_field(refd, field, value);
		return ret ? ret : width;
	}
	if (!offset && width == 2 && defect(WIDTH_HALFWORD_WRITE_APPLIED))
		return min_t(ssize_t, store_state(refd, value), width);
	if (!offset && width == 1 && defect(WIDTH_REFUSED_BUT_APPLIED))
		store_state(refd, value);
	return -EINVAL;
}

/* Reset, open, close */

int refd_reset(struct refd_device *refd)
{
	u32 before = refd_state(refd), after = REFD_STATE_RUNNING;

	if (defect(RESET_REFUSED_IN_STOP) && before == REFD_STATE_STOP)
		return -EBUSY;
	if (defect(RESET_TO_STOP))
		after = REFD_STATE_STOP;
	if (defect(RESET_KEEPS_STATE) ||
	    (defect(RESET_KEEPS_ERROR) && before == REFD_STATE_ERROR))
		after = before;
	refd_clock_fold(refd);
	memset(refd->live, 0, sizeof(*refd->live));
	memset(refd->window, 0, REFD_MIGRATION_SIZE);
	refd->fault = 0;
	refd->beats = 0;
	refd->reserved = 0;
	refd->refused = false;
	refd_set_state(refd, after);
	return 0;
}

void refd_opened(struct refd_device *refd)
{
	refd->open = true;
	memset(refd->window, 0, REFD_MIGRATION_SIZE);
	if (defect(OPEN_IN_STOP))
		refd_set_state(refd, REFD_STATE_STOP);
	refd->previous_state = refd->state;
	refd_settle(refd);
}

/* The stream ends here; the caller waits for its work outside the lock. */
void refd_closed(struct refd_device *refd)
{
	refd->open = false;
	refd_set_register(refd, REFD_REG_CONTROL,
			  refd_register(refd, REFD_REG_CONTROL) & ~(u64)REFD_CONTROL_STREAM);
	if (!defect(CLOSE_NEEDS_STOP) || refd_state(refd) == REFD_STATE_STOP)
		refd_set_state(refd, REFD_STATE_RUNNING);
}
