// SPDX-License-Identifier: GPL-2.0-only
/*
 * The passage of the device's state through the data section.
 *
 * A pass carries the image, or the end of it, from start to end in buffers. Each
 * is a part of the image and a struct trailer. Pre-copy offers the memory once.
 * Stop-and-copy offers the whole image, whatever pre-copy offered before, and only
 * that pass makes a restore complete.
 */
#include <linux/bits.h>
#include <linux/crc32.h>
#include <linux/delay.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/string.h>

#include "defects.h"
#include "vfio_refdriver.h"

#define PASS_PRE_COPY	1
#define PASS_WHOLE	2
#define PASS_MASK	3
#define KIND_FIRST	BIT(2)
#define KIND_LAST	BIT(3)

#define GARBAGE		0xa5

struct trailer {
	__le32 crc;		/* of the pass so far */
	u8 kind;		/* the pass, and KIND_ bits; never 0 */
} __packed;

static u32 image_size(struct refd_device *refd)
{
	return sizeof(struct refd_image) + refd->memory_size;
}

static u8 *image_bytes(struct refd_device *refd)
{
	return (u8 *)refd->image;
}

static u32 pass_start(u8 pass)
{
	return pass == PASS_PRE_COPY ? offsetof(struct refd_image, memory) : 0;
}

static u32 crc_on(u32 crc, const u8 *bytes, u32 length, u8 kind)
{
	return crc32(crc32(crc, bytes, length), &kind, sizeof(kind));
}

static void take_image(struct refd_device *refd)
{
	refd_clock_fold(refd);
	memcpy(refd->image, refd->live, image_size(refd));
}

/* The time that a buffer takes. */
static void work(void)
{
	if (refd_slow())
		fsleep(refd_slow());
}

/* Saving */

bool refd_saving(struct refd_device *refd)
{
	return refd_state(refd) == REFD_STATE_PRE_COPY ||
	       refd_state(refd) == REFD_STATE_STOP_AND_COPY;
}

static u8 saving_pass(struct refd_device *refd)
{
	return refd_state(refd) == REFD_STATE_PRE_COPY ? PASS_PRE_COPY : PASS_WHOLE;
}

/* Bytes of the image that fit into one buffer. */
static u32 step(struct refd_device *refd)
{
	return refd->buffer_size - sizeof(struct trailer);
}

/* Bytes that the user still has to fetch. */
u64 refd_left(struct refd_device *refd)
{
	u32 left = refd->transfer.end - refd->transfer.position;

	if (!refd_saving(refd))
		return 0;
	return left + (u64)DIV_ROUND_UP(left, step(refd)) * sizeof(struct trailer);
}

/* Whether the present buffer is the last one. */
bool refd_at_last(struct refd_device *refd)
{
	u32 left = refd->transfer.end - refd->transfer.position;

	return refd_saving(refd) && left && left <= step(refd);
}

/* As take_image(), with what defects leave as pre-copy offered it, up to a byte of the image. */
static void take_image_after_pre_copy(struct refd_device *refd, u32 offered)
{
	u32 middle = offsetof(struct refd_image, memory) + refd->memory_size / 2;
	u32 end = image_size(refd);

	if (defect(PRE_COPY_SNAPSHOT_ONLY) ||
	    (defect(PENDING_READ_FORGETS_CHANGES) && refd->asked_again))
		return;
	if (defect(PRE_COPY_REGISTERS_STALE)) {
		memcpy(refd->image->memory, refd->live->memory, refd->memory_size);
		return;
	}
	if (!defect(PRE_COPY_DROPS_LATE_CHANGE) || offered <= middle) {
		take_image(refd);
		return;
	}
	refd_clock_fold(refd);
	memcpy(refd->image, refd->live, middle);
	memcpy(image_bytes(refd) + offered, (u8 *)refd->live + offered, end - offered);
}

/* Whether defects have the state that was just entered offer nothing. */
static bool offers_nothing(struct refd_device *refd)
{
	bool final = saving_pass(refd) == PASS_WHOLE;
	u32 before = refd->previous_state;

	return defect(SAVING_IGNORED) || (defect(PRE_COPY_SILENT) && !final) ||
	       (defect(PRE_COPY_SAYS_ALL) && final && before == REFD_STATE_PRE_COPY) ||
	       (defect(STOP_SAVES_NOTHING) && final && before == REFD_STATE_STOP);
}

static void begin_saving(struct refd_device *refd, u32 offered)
{
	struct refd_transfer *transfer = &refd->transfer;
	bool final = saving_pass(refd) == PASS_WHOLE;

	if (final && refd->previous_state == REFD_STATE_PRE_COPY)
		take_image_after_pre_copy(refd, offered);
	else
		take_image(refd);
	if (refd_quiet())
		refd->image->registers[REFD_REG_COUNTER] = 0;
	refd->asked_again = false;

	transfer->start = pass_start(saving_pass(refd));
	transfer->position = transfer->start;
	transfer->end = image_size(refd);
	if (defect(SAVE_STREAM_TRUNCATED) && transfer->end > transfer->start)
		transfer->end -= (transfer->end - 1 - transfer->start) % step(refd) + 1;
	if (offers_nothing(refd) || (!final && !refd_pre_copy_has_data()))
		transfer->end = transfer->start;
}

/* The next buffer is the present one from now on. */
void refd_advance(struct refd_device *refd)
{
	struct refd_transfer *transfer = &refd->transfer;

	transfer->position += transfer->length;
	transfer->number += !!transfer->length;
	transfer->crc = transfer->next_crc;
	transfer->length = 0;
	transfer->size = 0;
	transfer->staged = false;
	transfer->asked = 0;
	transfer->offset_reads = 0;
	transfer->size_asked = false;
	transfer->hidden = false;
	refd_section_withdraw(refd);
}

/* pending_bytes is read again though no buffer was: only defects mind. */
static void asked_again(struct refd_device *refd)
{
	struct refd_transfer *transfer = &refd->transfer;

	refd->asked_again = true;
	if (defect(PENDING_READ_ADVANCES)) {
		transfer->length = min(step(refd), transfer->end - transfer->position);
		refd_advance(refd);
	}
	if (defect(PENDING_READ_CHANGES_BUFFER))
		transfer->spoilt = true;
}

/* A read of pending_bytes: the user is done with the buffer that it was given. */
void refd_pending_asked(struct refd_device *refd)
{
	struct refd_transfer *transfer = &refd->transfer;

	transfer->pending_asked = true;
	if (!refd_saving(refd))
		return;
	if (transfer->staged) {
		if (!defect(BUFFER_NEVER_ADVANCES))
			refd_advance(refd);
	} else if (transfer->asked && refd_left(refd)) {
		asked_again(refd);
	}
	transfer->asked++;
	if (defect(FAULT_TRUNCATES) && refd->save_fault == 1 && refd_left(refd)) {
		refd->save_fault = 0;
		transfer->end = transfer->position;
	}
	transfer->reads_zero = refd_at_last(refd) && defect(PENDING_ZERO_EARLY);
	if (refd_at_last(refd) && defect(PENDING_RETURNS) && !transfer->was_zero &&
	    saving_pass(refd) == PASS_WHOLE) {
		transfer->was_zero = true;
		transfer->reads_zero = true;
	}
	transfer->zeros += !refd_left(refd);
}

/* Lays a buffer out; returns its size, and the checksum after it. */
static u32 put(struct refd_device *refd, u8 *room, u32 start, u32 length, u32 *crc)
{
	struct trailer trailer = { .kind = saving_pass(refd) };

	if (start == refd->transfer.start)
		trailer.kind |= KIND_FIRST;
	if (start + length == image_size(refd))
		trailer.kind |= KIND_LAST;
	if (defect(SAVE_FIRST_PAGE_ONLY) && length > SZ_4K)
		memset(image_bytes(refd) + start + SZ_4K, 0, length - SZ_4K);
	*crc = crc_on(*crc, image_bytes(refd) + start, length, trailer.kind);
	trailer.crc = cpu_to_le32(*crc);
	memcpy(room, image_bytes(refd) + start, length);
	memcpy(room + length, &trailer, sizeof(trailer));
	return length + sizeof(trailer);
}

/* Counts a fault register down; true when this is the time to fail. */
static bool fails_now(u32 *fault)
{
	return *fault && !--*fault;
}

/* Makes an empty buffer available; the present one comes after it. */
static void stage_nothing(struct refd_transfer *transfer)
{
	transfer->staged = true;
	transfer->next_crc = transfer->crc;
}

/* Whether defects hide a fault: no error, and the present buffer, if there is one, is garbage. */
static bool hides_fault(struct refd_device *refd)
{
	struct refd_transfer *transfer = &refd->transfer;

	if (defect(FAULT_TRUNCATES))
		transfer->end = transfer->position;
	else if (defect(FAULT_EMPTIES_BUFFER))
		stage_nothing(transfer);
	else if (!defect(FAULT_IN_PRE_COPY_SILENT) || refd_state(refd) != REFD_STATE_PRE_COPY)
		return defect(FAULT_BAD_DATA);
	return true;
}

/* Whether an empty buffer is due; only defects offer one, and once. */
static bool offers_empty(struct refd_device *refd)
{
	return !refd->transfer.was_empty &&
	       (defect(SIZE_ZERO_WHILE_PENDING) ||
		(defect(SIZE_ZERO_IN_PRE_COPY) && saving_pass(refd) == PASS_PRE_COPY) ||
		(defect(SIZE_ZERO_BEFORE_LAST) && refd_at_last(refd)));
}

/* Whether defects have data_offset read before the data is there. */
bool refd_returns_early(struct refd_device *refd)
{
	return defect(OFFSET_RETURNS_EARLY) ||
	       (defect(OFFSET_RETURNS_EARLY_LATER) && refd->transfer.number);
}

/* Lays the present buffer out again, all of it. */
void refd_reveal(struct refd_device *refd)
{
	struct refd_transfer *transfer = &refd->transfer;
	u32 crc = transfer->crc;

	if (transfer->hidden)
		put(refd, refd_section_room(refd, refd->present.offset), transfer->position,
		    transfer->length, &crc);
	transfer->hidden = false;
}

/* Makes the present buffer available, unless it is already or none is left. */
int refd_stage(struct refd_device *refd)
{
	struct refd_transfer *transfer = &refd->transfer;
	u32 place = refd_place(refd, transfer->number);
	bool garbage = false;
	u32 again = 0;
	u8 *room;

	if (!refd_saving(refd) || transfer->staged || !refd_left(refd))
		return 0;
	if (defect(TWO_PENDING_READS_NEEDED) && transfer->asked < 2)
		return -EAGAIN;
	if (fails_now(&refd->save_fault)) {
		/* The buffer is not lost: the user may ask for it again, or give up. */
		if (!hides_fault(refd))
			return -EIO;
		if (transfer->staged || !refd_left(refd))
			return 0;
		garbage = true;
	}
	if (!refd_returns_early(refd))
		work();
	if (offers_empty(refd)) {
		transfer->was_empty = true;
		stage_nothing(transfer);
		return 0;
	}
	room = refd_section_room(refd, place);
	transfer->staged = true;
	transfer->next_crc = transfer->crc;
	transfer->length = min(step(refd), transfer->end - transfer->position);
	transfer->size = put(refd, room, transfer->position, transfer->length,
			     &transfer->next_crc);
	if (defect(BUFFER_RESENT) && transfer->number == 1)
		transfer->size = put(refd, room, transfer->start, step(refd), &again);
	if (transfer->spoilt)
		room[0] ^= 0xff;
	transfer->spoilt = false;
	if (garbage)
		memset(room, GARBAGE, transfer->size);
	refd_section_show(refd, place, transfer->size);
	refd_disturb_work(refd);
	return 0;
}

/* Nothing more is offered. */
void refd_end_saving(struct refd_device *refd)
{
	if (!refd_saving(refd))
		return;
	refd->transfer.end = refd->transfer.position;
	refd->transfer.staged = false;
}

/* Resuming */

static bool registers_valid(const __le64 *registers)
{
	return !(le64_to_cpu(registers[REFD_REG_CONTROL]) & ~(u64)REFD_CONTROL_STREAM) &&
	       !(le64_to_cpu(registers[REFD_REG_STATUS]) &
		 ~(u64)(REFD_STATUS_OK | REFD_STATUS_FAILED)) &&
	       le64_to_cpu(registers[REFD_REG_DMA_LENGTH]) <= REFD_DMA_MAX;
}

/*
 * Puts one buffer into the image. The window may be mapped, and the user still
 * at work there: what is checked is what was taken out of it.
 */
static int apply(struct refd_device *refd, const struct refd_range *buffer)
{
	struct refd_transfer *transfer = &refd->transfer;
	const u8 *bytes = refd_section_taken(refd, buffer->offset);
	u32 length = buffer->size - sizeof(struct trailer);
	struct trailer trailer;
	const u8 *taken;
	u32 crc;
	u8 pass;

	transfer->begun = true;
	if (buffer->size <= sizeof(struct trailer))
		return -EINVAL;
	memcpy(&trailer, bytes + length, sizeof(trailer));
	pass = trailer.kind & ~(KIND_FIRST | KIND_LAST);
	if (pass != PASS_PRE_COPY && pass != PASS_WHOLE)
		return -EINVAL;
	if (!(trailer.kind & KIND_FIRST) && pass != transfer->pass)
		return -EINVAL;
	if (trailer.kind & KIND_FIRST) {
		/* The whole may start anew at any time. */
		transfer->pass = pass;
		transfer->position = pass_start(pass);
		transfer->crc = 0;
		transfer->complete = false;
	}
	if (length > image_size(refd) - transfer->position)
		return -EINVAL;
	if (!(trailer.kind & KIND_LAST) != (length < image_size(refd) - transfer->position))
		return -EINVAL;

	if (defect(RESUME_LAST_BUFFER_ONLY))
		take_image(refd);
	taken = bytes;
	if (!defect(RESUME_DROPS_A_BUFFER) || transfer->number != 1) {
		transfer->complete = false;
		taken = memcpy(image_bytes(refd) + transfer->position, bytes, length);
	}
	crc = crc_on(transfer->crc, taken, length, trailer.kind);
	if (le32_to_cpu(trailer.crc) != crc)
		return -EINVAL;
	if (defect(RESUME_FIRST_PAGE_ONLY) && length > SZ_4K)
		memset(image_bytes(refd) + transfer->position + SZ_4K, 0, length - SZ_4K);
	transfer->crc = crc;
	transfer->position += length;
	transfer->number++;
	transfer->complete = pass == PASS_WHOLE && trailer.kind & KIND_LAST;
	return 0;
}

static int apply_or_wedge(struct refd_device *refd, const struct refd_range *buffer)
{
	bool ignored = defect(RESUMING_DATA_IGNORED) ||
		       (defect(RESUME_AGAIN_IGNORED) && refd->past.resumed);
	int ret = ignored ? 0 : apply(refd, buffer);

	if (ret)
		refd->wedged = true;
	return defect(BAD_DATA_SWALLOWED) ? 0 : ret;
}

static int consume_held(struct refd_device *refd)
{
	struct refd_range held = refd->transfer.held;

	refd->transfer.held = (struct refd_range) { 0 };
	return held.size ? apply_or_wedge(refd, &held) : 0;
}

/* A write of data_size: the buffer is consumed when it returns. */
int refd_consume(struct refd_device *refd, u64 size)
{
	struct refd_range buffer = { .offset = refd_data_offset(refd), .size = size };
	struct refd_transfer *transfer = &refd->transfer;
	struct refd_range written = transfer->written;
	int ret;

	if (refd_state(refd) != REFD_STATE_RESUMING || defect(RESUMING_DATA_REFUSED))
		return -EINVAL;
	if (fails_now(&refd->load_fault))
		return -EIO;
	transfer->written = (struct refd_range) { 0 };
	if (size > refd_migration_size(refd) - buffer.offset) {
		refd->bad_size = defect(BAD_SIZE_OUTLIVES_RESET);
		return -EINVAL;
	}
	if ((defect(RESUME_ODD_SIZE_REFUSED) && size % sizeof(u64)) ||
	    (defect(RESUME_AGAIN_REFUSED) && refd->past.resumed))
		return -EINVAL;
	if (defect(DATA_WRITE_WHOLE_ONLY) && written.size &&
	    (written.offset != buffer.offset || written.size != size))
		return -EINVAL;
	ret = consume_held(refd);
	if (!ret && size && defect(DATA_CONSUMED_LATE)) {
		transfer->held = buffer;
	} else if (!ret && size) {
		work();
		ret = apply_or_wedge(refd, &buffer);
	}
	if (!ret)
		transfer->size = size;
	return ret;
}

/*
 * The device becomes what was restored, if that is a whole state. Half of one is
 * dropped, or refused where the device is to work next.
 */
int refd_finish_resuming(struct refd_device *refd, bool works)
{
	__le64 *registers = refd->image->registers;
	int ret = consume_held(refd);
	u32 which;

	if (ret)
		return ret;
	if (!refd->transfer.begun)
		return 0;
	if (!refd->transfer.complete && !defect(SAVE_STREAM_TRUNCATED) &&
	    !defect(BAD_DATA_SWALLOWED))
		return works ? -EINVAL : 0;
	if (!registers_valid(registers))
		return -EINVAL;
	refd_clock_fold(refd);
	if (refd_quiet())
		registers[REFD_REG_COUNTER] = refd->live->registers[REFD_REG_COUNTER];
	for (which = 0; which < REFD_REG_COUNT && defect(RESUME_HIGH_HALF_LOST); which++)
		registers[which] &= cpu_to_le64(U32_MAX);
	memcpy(refd->live, refd->image, image_size(refd));
	return 0;
}

/* A state was entered. Offered is what pre-copy, if that was before, offered of the image. */
void refd_begin_transfer(struct refd_device *refd, u32 offered)
{
	refd->transfer = (struct refd_transfer) { 0 };
	refd_section_withdraw(refd);
	if (refd_saving(refd))
		begin_saving(refd, offered);
	else if (refd_state(refd) == REFD_STATE_RESUMING)
		take_image(refd);
}
