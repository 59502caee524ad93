// SPDX-License-Identifier: GPL-2.0-only
/*
 * Region 9: its registers, device_state and its transitions.
 */
#include <linux/bits.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/string.h>

#include "defects.h"
#include "vfio_refdriver.h"

/* Where the region begins in the device's file */
#define FILE_POSITION	((u64)VFIO_PCI_NUM_REGIONS << REFD_REGION_SHIFT)

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

/* The state that the device is in, whatever it reports. */
u32 refd_state(struct refd_device *refd)
{
	return refd->state & REFD_STATE_MASK;
}

/* device_state */

/* Enters a state whatever the device was doing. */
void refd_set_state(struct refd_device *refd, u32 state)
{
	u32 offered = refd->transfer.position + refd->transfer.length;

	refd_note_move(refd, refd_state(refd), state & REFD_STATE_MASK);
	refd->previous_state = refd->state;
	refd->state = state;
	refd->stuck = false;
	refd->restless = false;
	refd->pending_written = false;
	refd->data_offset = 0;
	refd_settle(refd);
	refd_begin_transfer(refd, offered);
}

static bool is_state(u32 value)
{
	switch (value) {
	case REFD_STATE_STOP:
	case REFD_STATE_RUNNING:
	case REFD_STATE_STOP_AND_COPY:
	case REFD_STATE_PRE_COPY:
	case REFD_STATE_RESUMING:
		return true;
	default:
		return false;
	}
}

/* Whether a transition may be made. */
static int check_transition(struct refd_device *refd, u32 from, u32 to, bool is_drawn)
{
	if (refd->past.latched)
		return -EIO;
	if (!is_state(to) && !refd_takes(from, to))
		return -EINVAL;
	if (from == REFD_STATE_ERROR)
		return refd_leaves_error(refd, to) ? 0 : -EIO;
	if (!is_drawn && refd_undrawn_refused())
		return -EINVAL;
	return from == to ? 0 : refd_refusal(refd, from, to);
}

static int make_transition(struct refd_device *refd, u32 from, u32 to, u32 end)
{
	bool early = from == REFD_STATE_RESUMING && !refd->transfer.begun &&
		     !refd->transfer.held.size;
	int ret;

	if (from == REFD_STATE_RESUMING) {
		ret = refd_finish_resuming(refd, to & REFD_STATE_BIT_RUNNING);
		if (ret && defect(HALF_STATE_READS_NEXT))
			refd->state = to;
		if (ret)
			return ret;
	}
	refd_set_state(refd, end);
	if (refd_stays_stopped(from, to)) {
		refd->stuck = true;
		refd_settle(refd);
	}
	if (from == REFD_STATE_STOP_AND_COPY && to == REFD_STATE_STOP &&
	    defect(SAVED_STATE_DROPPED))
		memset(refd->live->memory, 0, refd->memory_size);
	if (early && defect(EARLY_LEAVE_WEDGES))
		refd->state = 5;
	return 0;
}

static int change_state(struct refd_device *refd, u32 value)
{
	u32 from = refd_state(refd), to = refd_meaning(value), end;
	bool is_drawn = BIT(to) & drawn[from];
	u32 fault = refd->fault;
	int ret;

	refd->fault = 0;
	if (fault) {
		if (fault == REFD_FAULT_ERROR)
			refd_set_state(refd, REFD_STATE_ERROR);
		return -EIO;
	}
	if (refd_confused(refd, value) ||
	    (from == REFD_STATE_ERROR && defect(ERROR_WRITE_IGNORED)))
		return 0;
	ret = check_transition(refd, from, to, is_drawn);
	if (ret)
		return ret;
	if (from == to && defect(SELF_WRITE_ENDS_DATA) && refd_saving(refd))
		refd->transfer.end = refd->transfer.position;
	end = refd_end(from, to, is_drawn);
	return end == from ? 0 : make_transition(refd, from, to, end);
}

/* A write of device_state: the number of bytes to answer, or an error. */
static ssize_t store_state(struct refd_device *refd, u32 value)
{
	u32 from = refd_state(refd);
	int ret = change_state(refd, value);

	return ret ? refd_answer_refused(refd, from, value, ret) : refd_answer(refd, from, value);
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

/* Where the present buffer lies while saving, and where the next one goes while resuming. */
u32 refd_data_offset(struct refd_device *refd)
{
	return refd_place(refd, refd->transfer.number);
}

/* data_offset as it is read: where the data lies or goes, but for defects. */
static u64 told_offset(struct refd_device *refd)
{
	const struct refd_transfer *transfer = &refd->transfer;
	u64 told = refd_data_offset(refd);

	if (defect(RESUME_OFFSET_MARCHES) && refd_state(refd) == REFD_STATE_RESUMING)
		return told + (u64)transfer->number * refd->buffer_size;
	if (!transfer->staged)
		return told;
	if (defect(OFFSET_OUTSIDE_SECTION) && refd_at_last(refd))
		return refd_migration_size(refd) - rounddown((u32)transfer->size - 1, SZ_4K);
	if (defect(OFFSET_IN_REGISTERS) && transfer->number == 1)
		return 16;
	if (defect(OFFSET_REREADS_DRIFT) && transfer->number && transfer->offset_reads > 1)
		return told + 8;
	if (defect(OFFSET_HIGH_HALF))
		return told | (u64)transfer->number << 32;
	return told;
}

static u64 data_size(struct refd_device *refd)
{
	u64 size = refd->transfer.size;

	return size && refd_saving(refd) && defect(SIZE_OFF_BY_ONE) ? size - 1 : size;
}

static u64 pending_bytes(struct refd_device *refd)
{
	if (refd->pending_written)
		return refd->pending;
	if (defect(PENDING_RETURNS_LATER) && refd_state(refd) == REFD_STATE_STOP_AND_COPY &&
	    refd->transfer.zeros > 2)
		return 1;
	return refd->transfer.reads_zero ? 0 : refd_left(refd);
}

/* What the register holds; looking has no effect. */
static u64 peek(struct refd_device *refd, enum field field)
{
	switch (field) {
	case FIELD_STATE:
		return refd_reported_state(refd);
	case FIELD_RESERVED:
		if (defect(RESERVED_GARBAGE))
			return 0xdeadbeef;
		if (defect(RESERVED_STALE))
			return refd->last_read;
		if (defect(RESERVED_STORED_IN_PART))
			return refd->reserved & 0xff;
		return defect(RESERVED_STORED) ? refd->reserved : 0;
	case FIELD_PENDING:
		return pending_bytes(refd);
	case FIELD_OFFSET:
		if (defect(DATA_OFFSET_ZERO))
			return 0;
		if (defect(DATA_OFFSET_IN_HEADER) && refd_state(refd) == REFD_STATE_RESUMING)
			return places[FIELD_SIZE].offset;
		if (defect(DATA_OFFSET_FILE_POSITION))
			return FILE_POSITION + refd_data_offset(refd);
		return refd->data_offset ?: told_offset(refd);
	case FIELD_SIZE:
		return data_size(refd);
	default:
		return 0;
	}
}

/* Whether data_offset is refused while saving, once; by defects alone. */
static bool refuses_offset(struct refd_device *refd)
{
	struct refd_transfer *transfer = &refd->transfer;
	u32 state = refd_state(refd);

	if (transfer->offset_refused)
		return false;
	transfer->offset_refused =
		(defect(OFFSET_REFUSED_WHILE_PENDING) && state == REFD_STATE_STOP_AND_COPY) ||
		(defect(OFFSET_REFUSED_IN_PRE_COPY) && state == REFD_STATE_PRE_COPY) ||
		(defect(OFFSET_REFUSED_AT_LAST) && refd_at_last(refd));
	return transfer->offset_refused;
}

/* Whether a read of data_offset goes on to the next buffer; by defects alone. */
static bool offset_advances(struct refd_device *refd)
{
	return defect(OFFSET_READ_ADVANCES) ||
	       (defect(OFFSET_READ_ADVANCES_IN_PRE_COPY) &&
		refd_state(refd) == REFD_STATE_PRE_COPY);
}

/* A read of data_offset while saving makes the present buffer available. */
static int touch_offset(struct refd_device *refd)
{
	struct refd_transfer *transfer = &refd->transfer;
	bool asked = transfer->offset_asked;
	bool staged = transfer->staged;
	int ret;

	transfer->offset_asked = true;
	if (refd_state(refd) == REFD_STATE_RESUMING &&
	    ((defect(SECOND_OFFSET_REFUSED) && asked) ||
	     (defect(RESUME_OFFSET_WANTS_PENDING) && !transfer->pending_asked)))
		return -EINVAL;
	if (!refd_saving(refd) || !refd_left(refd))
		return 0;
	if (refuses_offset(refd))
		return -EAGAIN;
	if (offset_advances(refd) && staged && !refd_at_last(refd))
		refd_advance(refd);
	transfer->offset_reads++;
	if (!staged && (defect(DATA_LAZY_ON_SIZE) ||
			(defect(DATA_LAZY_LATER) && transfer->number))) {
		u32 place = refd_data_offset(refd);

		memset(refd_section_room(refd, place), 0, refd_migration_size(refd) - place);
		return 0;
	}
	ret = refd_stage(refd);
	if (ret || staged)
		return ret;
	if (refd_returns_early(refd))
		refd_section_delay(refd);
	if (defect(DATA_LAZY_PAST_PAGE)) {
		refd_section_hide(refd, SZ_4K);
		transfer->hidden = true;
	}
	return 0;
}

static int touch_size(struct refd_device *refd)
{
	struct refd_transfer *transfer = &refd->transfer;
	int ret;

	if (!refd_saving(refd))
		return 0;
	if (defect(DATA_SIZE_READ_REFUSED) ||
	    (defect(SIZE_REFUSED_AT_LAST) && refd_at_last(refd)))
		return -EINVAL;
	ret = refd_stage(refd);
	refd_reveal(refd);
	if (defect(SIZE_READ_ONCE) && transfer->size_asked)
		transfer->size = 0;
	transfer->size_asked = transfer->staged;
	return ret;
}

/* What a read of the register brings about before the value is taken. */
static int touch(struct refd_device *refd, enum field field)
{
	switch (field) {
	case FIELD_STATE:
		return refd_state_asked(refd);
	case FIELD_RESERVED:
		return defect(RESERVED_READ_REFUSED) ? -EINVAL : 0;
	case FIELD_PENDING:
		refd_pending_asked(refd);
		if (refd_state(refd) == REFD_STATE_STOP_AND_COPY &&
		    (defect(STATE_CHANGES_BY_ITSELF) ||
		     (defect(DRAINED_STOPS) && !refd_left(refd))))
			refd_set_state(refd, REFD_STATE_STOP);
		return 0;
	case FIELD_OFFSET:
		return touch_offset(refd);
	case FIELD_SIZE:
		return touch_size(refd);
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

/* Reads the register alone at which a longer read begins. */
static ssize_t read_first(struct refd_device *refd, u32 offset, u32 width, u8 *bytes)
{
	enum field field;

	for (field = 0; field < FIELD_COUNT; field++)
		if (offset == places[field].offset && width > places[field].width)
			return refd_migration_read(refd, offset, places[field].width, bytes);
	return -EINVAL;
}

/* Reads at other places than a register's own, which only defects allow. */
static ssize_t read_loosely(struct refd_device *refd, u32 offset, u32 width, u8 *bytes)
{
	u8 header[REFD_HEADER_SIZE];
	enum field field;
	__le64 value;

	if (defect(WIDTH_READ_EMPTY))
		return 0;
	if (offset >= REFD_HEADER_SIZE || width > REFD_HEADER_SIZE - offset)
		return -EINVAL;
	if (defect(WIDTH_READ_SHORT))
		return read_first(refd, offset, width, bytes);
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
	refd->last_read = peek(refd, field);
	value = cpu_to_le64(refd->last_read);
	memcpy(bytes, &value, width);
	if (defect(SIZE_READ_SHORT) && field == FIELD_SIZE &&
	    refd_state(refd) == REFD_STATE_PRE_COPY)
		return sizeof(u32);
	return width;
}

static int refused_as_read_only(void)
{
	return refd_read_only_refused() ? -EINVAL : 0;
}

static int consume(struct refd_device *refd, u64 size)
{
	int ret = refd_consume(refd, size);

	if (ret || !defect(RESUMING_RUNS_BY_ITSELF) || !refd->transfer.complete)
		return ret;
	return make_transition(refd, REFD_STATE_RESUMING, REFD_STATE_RUNNING, REFD_STATE_RUNNING);
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
		if (defect(PENDING_WRITE_ZERO_ENDS) && !value)
			refd_end_saving(refd);
		if (!defect(PENDING_WRITABLE) &&
		    !(defect(PENDING_WRITABLE_IN_PRE_COPY) &&
		      refd_state(refd) == REFD_STATE_PRE_COPY))
			return refused_as_read_only();
		refd->pending = value;
		refd->pending_written = true;
		return 0;
	case FIELD_OFFSET:
		if (!defect(DATA_OFFSET_WRITABLE) &&
		    !(defect(DATA_OFFSET_WRITABLE_WHILE_SAVING) && refd_saving(refd)) &&
		    !(defect(DATA_OFFSET_HIGH_HALF_WRITABLE) && value >> 32))
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
		if (field == FIELD_SIZE && defect(RESUME_SIZE_SHORT))
			width = sizeof(u32);
		if (!ret && field == FIELD_RESERVED && defect(RESERVED_WRITE_EMPTY))
			return 0;
		return ret ? ret : width;
	}
	if (!offset && width == 2 && defect(WIDTH_HALFWORD_WRITE_APPLIED))
		return min_t(ssize_t, store_state(refd, value), width);
	if (!offset && width == 1 && defect(WIDTH_REFUSED_BUT_APPLIED))
		store_state(refd, value);
	if (!offset && width == 8 && defect(WIDTH_WIDE_WRITE_APPLIED))
		return store_state(refd, value);
	return defect(WIDTH_WRITE_IGNORED) ? (ssize_t)width : -EINVAL;
}

/* Reset, open, close */

int refd_reset(struct refd_device *refd)
{
	u32 before = refd_state(refd);
	int ret = refd_reset_refusal(refd);

	if (ret)
		return ret;
	refd_clock_fold(refd);
	memset(refd->live, 0, sizeof(*refd->live));
	memset(refd->live->memory, 0, refd->memory_size);
	refd_section_clear(refd);
	refd->fault = 0;
	refd->save_fault = 0;
	refd->load_fault = 0;
	refd->pin_address = 0;
	refd->pin_length = 0;
	refd_unpin_all(refd);
	refd->wedged = false;
	refd->beats = 0;
	refd->reserved = 0;
	refd->last_beat = 0;
	refd->past.was_reset = true;
	refd_set_state(refd, refd_after_reset(refd));
	refd_note_start(refd, before);
	return 0;
}

void refd_opened(struct refd_device *refd)
{
	refd->open = true;
	refd->wedged = false;
	refd_section_clear(refd);
	if (defect(OPEN_IN_STOP))
		refd_set_state(refd, REFD_STATE_STOP);
	refd->previous_state = refd->state;
	refd->stuck = defect(OPEN_STANDS_STILL);
	refd_note_open(refd);
	refd_settle(refd);
}

/* The stream ends here; the caller waits for its work outside the lock. */
void refd_closed(struct refd_device *refd)
{
	u32 before = refd_state(refd);

	refd->open = false;
	refd_set_register(refd, REFD_REG_CONTROL,
			  refd_register(refd, REFD_REG_CONTROL) & ~(u64)REFD_CONTROL_STREAM);
	refd->last_beat = 0;
	if (refd_after_close(refd) == REFD_STATE_RUNNING) {
		refd_set_state(refd, REFD_STATE_RUNNING);
		refd_note_start(refd, before);
	}
}
