/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a device remembers for its defects, while any are chosen.
 */
#ifndef VFIO_REFDRIVER_PAST_H
#define VFIO_REFDRIVER_PAST_H

#include <linux/list.h>
#include <linux/types.h>
#include <linux/workqueue.h>

#include "../vfio_refdriver.h"

/* Short names for states, and for sets of them */
#define STOP		REFD_STATE_STOP
#define RUNNING		REFD_STATE_RUNNING
#define COPY		REFD_STATE_STOP_AND_COPY
#define PRE_COPY	REFD_STATE_PRE_COPY
#define RESUMING	REFD_STATE_RESUMING
#define ERROR		REFD_STATE_ERROR

#define ANY		GENMASK(REFD_STATE_MASK, 0)
#define SAVING		(BIT(PRE_COPY) | BIT(COPY))

/* How late the late effects come */
#define LATE_MS		20

/* Since the device was opened */
struct refd_past_user {
	bool unread;		/* header-late has not taken effect, and the device was not reset */
	bool was_reset;
	bool saved;		/* a saving state was entered */
	bool recovered;		/* a reset ended the error state */
	bool cancelled;		/* pre-copy was left for RESUMING */
	bool struck;		/* the device failed while resuming */
	bool save_struck;	/* the same while saving */
	/* Since the last reset */
	u32 refusals;		/* writes of device_state that were refused */
	bool latched;		/* all are refused */
	bool resumed;		/* a state was written to the device, and it left RESUMING */
	bool hurt;		/* that reset ended the error state */
	bool withdrawn;		/* pre-copy was left for RUNNING */
	bool unfinished;	/* stop-and-copy was left with bytes pending */
	bool old_image;		/* the content of the image is to be saved again */
	u32 offered;		/* end of what a cancelled pre-copy had offered, in the image */
	bool adopted;		/* a state was loaded: */
	__le64 registers[REFD_REG_COUNT];
	/* In a row */
	u32 refused;		/* writes that were refused */
	bool commanded;		/* the last one, because FAULT said so */
};

/* Since the present state was entered */
struct refd_past_state {
	bool stuck;		/* is stopped in any state */
	bool restless;		/* runs in any state */
	u32 asked;		/* writes of device_state in the error state */
	u64 until;		/* time in nanoseconds until which it lasts; 0 forever */
	u32 stale_reads;	/* reads of it, and one more, that give the state before */
	u32 reserved_bits;	/* of the value that device_state reads */
	bool pending_written;	/* what the user wrote to a read-only register */
	u64 pending;
	u64 data_offset;
	u32 zeros;		/* reads of pending_bytes since nothing is left */
	bool pending_asked;	/* pending_bytes was read */
	u32 offset_asked;	/* reads of data_offset */
	bool offset_refused;	/* one of them was refused */
	bool was_empty;		/* an empty buffer was offered */
	bool was_zero;		/* pending_bytes was 0 before its time */
	bool spoilt;		/* the next buffer has a wrong byte */
	bool garbage;		/* the next buffer is all garbage */
	struct refd_range held;		/* a buffer that is still to be consumed */
	struct refd_range written;	/* the last write to the section since the last buffer */
	bool rewritten;		/* it was to what had been written */
	bool reread;		/* a part of a buffer was read twice */
	bool refused;		/* a write of device_state was refused */
	bool loses;		/* to the data being written */
	bool deaf;		/* to all data written */
};

/* Since the present buffer became the present one */
struct refd_past_buffer {
	u32 asked;		/* reads of pending_bytes */
	u32 offset_reads;
	bool size_asked;	/* data_size was read */
	u32 size_reads;
	bool hidden;		/* a part is still to appear */
	struct refd_range present;	/* where it is there to be read; of no size before */
	bool missing;		/* a byte of the window is late: */
	u32 missing_at;
	u8 missing_byte;
	u32 read_to;		/* where the last read of it ended */
};

/* For the session after a reset */
struct refd_past_next {
	u32 behind;		/* a saving state begins there in the image, once */
	bool empty;		/* nothing is saved */
	bool in_part;		/* a buffer is refused, once */
};

struct refd_past {
	struct refd_device *refd;
	struct list_head entry;		/* in the list of all devices */

	struct refd_past_user user;
	struct refd_past_state state;
	struct refd_past_buffer buffer;
	struct refd_past_next next;

	u32 previous;		/* state */
	struct refd_transfer left;	/* as it was then */
	u32 reserved;		/* written to that register since the last reset */
	u64 last_read;		/* what the last read of a register of region 9 returned */
	bool asked_again;	/* pending_bytes was, in the last pre-copy */
	bool wedged;		/* resume data was refused since the device was opened or reset */
	bool bad_size;		/* a data_size past the end was refused */
	bool error_outlives;	/* the device was closed in the error state */
	bool part_outlives;	/* it was closed in RESUMING, with a part of a state written */
	bool stale;		/* the present buffer is only in the shadow */
	u8 *shadow;		/* a second window, and its size; see refd_shadow() */
	u32 shadow_size;
	struct delayed_work late_byte;	/* adds what is missing */
	struct delayed_work late_beat;	/* one write of the DMA stream after its time */
};

static inline struct refd_past *past(struct refd_device *refd)
{
	return refd->private;
}

/* Where the image continues after the present buffer. */
static inline u32 refd_behind(const struct refd_transfer *transfer)
{
	return transfer->position + transfer->length;
}

/* past.c: all with the device's lock held, except the first two */
struct refd_past *refd_past_new(struct refd_device *refd);
void refd_past_free(struct refd_past *past);
void refd_past_begin(struct refd_past *past);
bool refd_at_last(struct refd_device *refd);
bool refd_after_pre_copy(struct refd_device *refd);
bool refd_fault_is_due(struct refd_device *refd);
u8 *refd_shadow(struct refd_device *refd);
u8 *refd_served(struct refd_device *refd);

/* saving.c: a part is left as it was when the image was taken before */
void refd_take_around(struct refd_device *refd, u32 start, u32 end);

/* saving.c, work.c: what is late */
void refd_late_byte(struct work_struct *work);
void refd_late_beat(struct work_struct *work);

#endif
