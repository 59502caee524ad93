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

/* device_state */

/* Enters a state whatever the device was doing. */
void refd_set_state(struct refd_device *refd, u32 state)
{
	u32 offered = refd->transfer.position + refd->transfer.length;

	refd->previous_state = refd->state;
	refd->state = state;
	refd->stuck = false;
	refd->pending_written = false;
	refd->data_offset = 0;
	refd_settle(refd);
	refd_begin_transfer(refd, offered);
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
		    BIT(to) & each->to && (!each->pending || refd_left(refd)))
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

/* Whether defects have the device stand still though it goes to RUNNING. */
static bool stays_stopped(u32 from, u32 to)
{
	return to == REFD_STATE_RUNNING &&
	       ((from == REFD_STATE_RESUMING && defect(RESUMED_STAYS_STOPPED)) ||
		(from == REFD_STATE_STOP_AND_COPY && defect(CANCELLED_STAYS_STOPPED)));
}

static int change_state(struct refd_device *refd, u32 value)
{
	u32 from = refd_state(refd), to = value & REFD_STATE_MASK;
	bool early = from == REFD_STATE_RESUMING && !refd->transfer.begun &&
		     !refd->transfer.held.size;
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
		if (defect(SELF_WRITE_ENDS_DATA) && refd_saving(refd))
			refd->transfer.end = refd->transfer.position;
		return 0;
	}
	if (from == REFD_STATE_RESUMING) {
		ret = refd_finish_resuming(refd, to & REFD_STATE_BIT_RUNNING);
		if (ret && defect(HALF_STATE_READS_NEXT))
			refd->state = to;
		if (ret)
			return ret;
	}
	if (!is_drawn && defect(UNDRAWN_WRONG_STATE))
		to = third_state(from, to);
	refd_set_state(refd, to);
	if (stays_stopped(from, to)) {
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
		return reported_state(refd);
	case FIELD_RESERVED:
		if (defect(RESERVED_GARBAGE))
			return 0xdeadbeef;
		return defect(RESERVED_STORED) ? refd->reserved : 0;
	case FIELD_PENDING:
		return pending_bytes(refd);
	case FIELD_OFFSET:
		if (defect(DATA_OFFSET_ZERO))
			return 0;
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
	case FIELD_RESERVED:
		return defect(RESERVED_READ_REFUSED) ? -EINVAL : 0;
	case FIELD_PENDING:
		refd_pending_asked(refd);
		if (defect(STATE_CHANGES_BY_ITSELF) &&
		    refd_state(refd) == REFD_STATE_STOP_AND_COPY)
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

/* The user has put a buffer there. */
static int write_size(struct refd_device *refd, u64 value)
{
	int ret = refd_consume(refd, value);

	if (!ret && defect(LOADING_ENDS_RESUMING) && refd->transfer.complete)
		return change_state(refd, REFD_STATE_RUNNING);
	return ret;
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
		return write_size(refd, value);
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
	if (defect(BAD_DATA_WEDGES) && refd->wedged)
		return -EIO;
	if (defect(RESET_TO_STOP))
		after = REFD_STATE_STOP;
	if (refd->bad_size)
		after = REFD_STATE_RESUMING;
	if (refd->error_outlives || defect(RESET_KEEPS_STATE) ||
	    (defect(RESET_KEEPS_ERROR) && before == REFD_STATE_ERROR))
		after = before;
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
	refd->bad_size = false;
	refd->error_outlives = false;
	refd->resumed = false;
	refd->beats = 0;
	refd->reserved = 0;
	refd->refused = false;
	refd_set_state(refd, after);
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
	refd_settle(refd);
}

/* The stream ends here; the caller waits for its work outside the lock. */
void refd_closed(struct refd_device *refd)
{
	refd->open = false;
	refd_set_register(refd, REFD_REG_CONTROL,
			  refd_register(refd, REFD_REG_CONTROL) & ~(u64)REFD_CONTROL_STREAM);
	if (defect(ERROR_OUTLIVES_CLOSE) && refd_state(refd) == REFD_STATE_ERROR)
		refd->error_outlives = true;
	else if (!defect(CLOSE_NEEDS_STOP) || refd_state(refd) == REFD_STATE_STOP)
		refd_set_state(refd, REFD_STATE_RUNNING);
}
