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
#include <linux/build_bug.h>
#include <linux/crc32.h>
#include <linux/delay.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/string.h>

#include "vfio_refdriver.h"

#define PASS_PRE_COPY	1
#define PASS_COMPLETE	2
#define KIND_FIRST	BIT(2)
#define KIND_LAST	BIT(3)

struct trailer {
	__le32 crc;		/* of the pass so far */
	u8 kind;		/* the pass, and KIND_ bits; never 0 */
} __packed;

static_assert(sizeof(struct trailer) == REFD_TRAILER_SIZE);

u32 refd_image_size(struct refd_device *refd)
{
	return sizeof(struct refd_image) + refd->memory_size;
}

u8 *refd_image_bytes(struct refd_device *refd)
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

void refd_take_image(struct refd_device *refd)
{
	refd_clock_fold(refd);
	memcpy(refd->image, refd->live, refd_image_size(refd));
}

/* Waits for the time that a buffer takes. */
void refd_work(struct refd_device *refd)
{
	if (refd_slow())
		fsleep(refd_slow());
}

/* Counts a fault register down; true if the device has to fail now. */
static bool fails_now(u32 *fault)
{
	return *fault && !--*fault;
}

/* A state was entered. */
void refd_begin_transfer(struct refd_device *refd)
{
	refd->transfer = (struct refd_transfer) { 0 };
	if (refd_saving(refd))
		refd->ops->begin_saving(refd);
	else if (refd->state == REFD_STATE_RESUMING)
		refd->ops->take_image(refd);
}

/* Saving */

bool refd_saving(struct refd_device *refd)
{
	return refd->state == REFD_STATE_PRE_COPY || refd->state == REFD_STATE_STOP_AND_COPY;
}

static u8 saving_pass(struct refd_device *refd)
{
	return refd->state == REFD_STATE_PRE_COPY ? PASS_PRE_COPY : PASS_COMPLETE;
}

/* Bytes of the image that fit into one buffer. */
u32 refd_step(struct refd_device *refd)
{
	return refd->buffer_size - REFD_TRAILER_SIZE;
}

/* Bytes that the user still has to fetch. */
u64 refd_left(struct refd_device *refd)
{
	u32 left = refd->transfer.end - refd->transfer.position;

	if (!refd_saving(refd))
		return 0;
	return left + (u64)DIV_ROUND_UP(left, refd_step(refd)) * REFD_TRAILER_SIZE;
}

void refd_begin_saving(struct refd_device *refd)
{
	struct refd_transfer *transfer = &refd->transfer;
	u8 pass = saving_pass(refd);

	refd->ops->take_image(refd);
	if (refd_quiet())
		refd->image->registers[REFD_REG_COUNTER] = 0;
	transfer->start = pass_start(pass);
	transfer->position = transfer->start;
	transfer->end = refd_image_size(refd);
	if (pass == PASS_PRE_COPY && !refd_pre_copy_has_data())
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
}

/* Composes a buffer; returns its size, and the checksum after it. */
u32 refd_lay(struct refd_device *refd, u8 *room, u32 start, u32 length, u32 *crc)
{
	const u8 *bytes = refd_image_bytes(refd) + start;
	struct trailer trailer = { .kind = saving_pass(refd) };

	if (start == refd->transfer.start)
		trailer.kind |= KIND_FIRST;
	if (start + length == refd_image_size(refd))
		trailer.kind |= KIND_LAST;
	*crc = crc_on(*crc, bytes, length, trailer.kind);
	trailer.crc = cpu_to_le32(*crc);
	memcpy(room, bytes, length);
	memcpy(room + length, &trailer, sizeof(trailer));
	return length + sizeof(trailer);
}

/* Puts the present buffer into the window. */
void refd_offer(struct refd_device *refd)
{
	struct refd_transfer *transfer = &refd->transfer;
	u8 *room = refd->ops->room(refd, refd_data_offset(refd));

	transfer->staged = true;
	transfer->next_crc = transfer->crc;
	transfer->length = min(refd_step(refd), transfer->end - transfer->position);
	transfer->size = refd->ops->lay(refd, room, transfer->position, transfer->length,
					&transfer->next_crc);
}

/* If this fails, the buffer is not lost: the user may ask for it again, or give up. */
int refd_make_buffer(struct refd_device *refd)
{
	if (fails_now(&refd->save_fault))
		return -EIO;
	refd->ops->work(refd);
	refd->ops->offer(refd);
	return 0;
}

/* Makes the present buffer available, unless it is already or there is no more data. */
int refd_stage(struct refd_device *refd)
{
	if (refd->transfer.staged || !refd_left(refd))
		return 0;
	return refd->ops->make_buffer(refd);
}

/* Resuming */

static bool registers_valid(const __le64 *registers)
{
	return !(le64_to_cpu(registers[REFD_REG_CONTROL]) & ~(u64)REFD_CONTROL_STREAM) &&
	       !(le64_to_cpu(registers[REFD_REG_STATUS]) &
		 ~(u64)(REFD_STATUS_OK | REFD_STATUS_FAILED)) &&
	       le64_to_cpu(registers[REFD_REG_DMA_LENGTH]) <= REFD_DMA_MAX;
}

/* Keeps the part of the image that came in a buffer; returns where it is now. */
const u8 *refd_keep(struct refd_device *refd, const u8 *bytes, u32 length)
{
	return memcpy(refd_image_bytes(refd) + refd->transfer.position, bytes, length);
}

/*
 * Puts one buffer into the image. The window may be mapped, and the user still
 * writing there: the copied bytes are checked.
 */
int refd_apply(struct refd_device *refd, const struct refd_range *buffer)
{
	struct refd_transfer *transfer = &refd->transfer;
	const u8 *bytes = refd->ops->taken(refd, buffer->offset);
	u32 length = buffer->size - REFD_TRAILER_SIZE;
	struct trailer trailer;
	const u8 *kept;
	u32 left, crc;
	u8 pass;

	transfer->begun = true;
	if (buffer->size <= REFD_TRAILER_SIZE)
		return -EINVAL;
	memcpy(&trailer, bytes + length, sizeof(trailer));
	pass = trailer.kind & ~(KIND_FIRST | KIND_LAST);
	if (pass != PASS_PRE_COPY && pass != PASS_COMPLETE)
		return -EINVAL;
	if (!(trailer.kind & KIND_FIRST) && pass != transfer->pass)
		return -EINVAL;
	if (trailer.kind & KIND_FIRST) {
		/* The whole pass may start again at any time. */
		transfer->pass = pass;
		transfer->position = pass_start(pass);
		transfer->crc = 0;
		transfer->complete = false;
	}
	left = refd_image_size(refd) - transfer->position;
	if (length > left || !(trailer.kind & KIND_LAST) != (length < left))
		return -EINVAL;

	transfer->complete = false;
	kept = refd->ops->keep(refd, bytes, length);
	crc = crc_on(transfer->crc, kept, length, trailer.kind);
	if (le32_to_cpu(trailer.crc) != crc)
		return -EINVAL;
	transfer->crc = crc;
	transfer->position += length;
	transfer->number++;
	transfer->complete = pass == PASS_COMPLETE && trailer.kind & KIND_LAST;
	return 0;
}

/* A write of data_size: the buffer is consumed when it returns. */
int refd_consume(struct refd_device *refd, u64 size)
{
	struct refd_range buffer = { .offset = refd_data_offset(refd), .size = size };
	int ret;

	if (refd->state != REFD_STATE_RESUMING)
		return -EINVAL;
	if (fails_now(&refd->load_fault))
		return -EIO;
	if (size > refd_migration_size(refd) - buffer.offset)
		return -EINVAL;
	if (size) {
		refd->ops->work(refd);
		ret = refd->ops->apply(refd, &buffer);
		if (ret)
			return ret;
	}
	refd->transfer.size = size;
	return 0;
}

/* Whether the data written is a whole state. */
bool refd_is_whole(struct refd_device *refd)
{
	return refd->transfer.complete;
}

/* The device becomes what was restored. */
void refd_adopt(struct refd_device *refd)
{
	__le64 *registers = refd->image->registers;

	refd_clock_fold(refd);
	if (refd_quiet())
		registers[REFD_REG_COUNTER] = refd->live->registers[REFD_REG_COUNTER];
	memcpy(refd->live, refd->image, refd_image_size(refd));
}

/* An incomplete state is dropped, or refused if the device is to run next. */
int refd_finish_resuming(struct refd_device *refd, bool works)
{
	if (!refd->transfer.begun)
		return 0;
	if (!refd->ops->is_whole(refd))
		return works ? -EINVAL : 0;
	if (!registers_valid(refd->image->registers))
		return -EINVAL;
	refd->ops->adopt(refd);
	return 0;
}
