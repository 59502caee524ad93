/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The reference device as a kernel module: what its parts share.
 *
 * Locks: refd_device.lock guards everything that changes, and is held over
 * DMA, so that whoever stops the device knows that no DMA is under way. Under
 * it come the container's lock and the user's mmap_lock, taken inside
 * vfio_dma_rw() and the copies to and from user memory; hence mmap, called
 * with mmap_lock held, must never take it. Nor must the container's call before
 * it unmaps: refd_pins.lock, which comes under refd_device.lock, is all it needs.
 */
#ifndef VFIO_REFDRIVER_H
#define VFIO_REFDRIVER_H

#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/semaphore.h>
#include <linux/sizes.h>
#include <linux/types.h>
#include <linux/workqueue.h>

#include "compat.h"

#define REFD_NAME		"vfio_refdriver"

#define REFD_DMA_MAX		SZ_64K
#define REFD_BOUNCE_SIZE	SZ_16K

/* The migration region: a page of trapped registers, then the data section. */
#define REFD_REGION_SHIFT	40	/* file offset: region index above, place below */
#define REFD_HEADER_SIZE	32
#define REFD_DATA_OFFSET	SZ_4K

/* device_state, as the v1 interface numbers it */
#define REFD_STATE_STOP			0
#define REFD_STATE_RUNNING		1
#define REFD_STATE_STOP_AND_COPY	2
#define REFD_STATE_PRE_COPY		3
#define REFD_STATE_RESUMING		4
#define REFD_STATE_ERROR		6
#define REFD_STATE_BIT_RUNNING		1
#define REFD_STATE_MASK			7

/* The FAULT register */
#define REFD_FAULT_ERROR	1	/* refuse, enter the error state */
#define REFD_FAULT_KEEP		2	/* refuse, keep the state */

/* Registers that are part of the state */
enum refd_register {
	REFD_REG_CONTROL,
	REFD_REG_COUNTER,	/* in nanoseconds here, up to clock_since */
	REFD_REG_DMA_ADDRESS,
	REFD_REG_DMA_LENGTH,
	REFD_REG_STATUS,
	REFD_REG_SCRATCH0,
	REFD_REG_SCRATCH1,
	REFD_REG_SCRATCH2,
	REFD_REG_COUNT
};

#define REFD_CONTROL_STREAM	BIT(0)
#define REFD_STATUS_OK		BIT(0)
#define REFD_STATUS_FAILED	BIT(1)

/* All that is migrated; also the byte order in which it travels. */
struct refd_image {
	__le64 registers[REFD_REG_COUNT];
	u8 memory[];
};

/* What the present user has seen of device_state, for the defects that go by it. */
struct refd_past {
	/* Since the device was opened */
	bool unread;		/* device_state was neither read nor the device reset */
	bool was_reset;
	bool saved;		/* a saving state was entered */
	bool recovered;		/* a reset ended the error state */
	bool cancelled;		/* pre-copy was left for RESUMING */
	/* Since the last reset */
	u32 refusals;		/* writes that were refused */
	bool latched;		/* all are */
	bool resumed;		/* a state was given to the device, and it left RESUMING */
	bool hurt;		/* that reset ended the error state */
	/* In a row */
	u32 refused;		/* writes that were */
	u32 asked_in_error;	/* writes in the error state */
	u32 stale_reads;	/* reads, and one more, that give the state before */
};

/* Part of the migration region; without a size: none. */
struct refd_range {
	u32 offset;
	u32 size;
};

/*
 * A save or a restore under way, from the state that began it to the next.
 * Saving, its present buffer is the one that the user reads or reads next;
 * resuming, it is the one expected next.
 */
struct refd_transfer {
	u32 position;		/* where the present buffer begins in the image */
	u32 number;		/* buffers before it */
	u32 crc;		/* of all that was in them */
	u64 size;		/* data_size */

	/* Saving */
	u32 start;		/* of what is offered of the image, and its end */
	u32 end;
	bool staged;		/* the present buffer is in the window */
	u32 length;		/* bytes of the image in it */
	u32 next_crc;

	/* Resuming */
	u8 pass;
	bool begun;		/* a buffer came */
	bool complete;		/* the whole image was accepted */

	/* What defects need to know */
	u32 asked;		/* reads of pending_bytes since the last buffer */
	u32 zeros;		/* reads of pending_bytes since nothing is left */
	u32 offset_reads;	/* of the present buffer */
	bool pending_asked;	/* pending_bytes was read */
	bool offset_asked;	/* data_offset was read or refused before */
	bool offset_refused;	/* data_offset was refused once */
	bool hidden;		/* a part of the present buffer is still to appear */
	bool size_asked;	/* data_size of the present buffer was read before */
	bool was_empty;		/* an empty buffer was offered */
	bool was_zero;		/* pending_bytes was 0 before its time */
	bool reads_zero;	/* pending_bytes is 0 although bytes are left */
	bool spoilt;		/* the next buffer has a wrong byte */
	struct refd_range held;		/* a buffer that is still to be consumed */
	struct refd_range written;	/* the one write to the section since the last buffer */
};

/* What is pinned; see refd_dma_unmap() for why the lock is no mutex. */
struct refd_pins {
	struct semaphore lock;
	struct refd_pin *ranges;
	u32 count;
	u32 pages;		/* in all ranges */
};

struct refd_device {
	struct vfio_device vdev;
	struct list_head entry;		/* in the module's list of devices */
	struct mutex lock;
	bool open;

	/* Sizes in bytes, from one user to the next */
	u32 memory_size;
	u32 section_size;

	struct refd_image *live;	/* the device as it is */
	u32 fault;
	u32 save_fault;
	u32 load_fault;
	u64 pin_address;
	u32 pin_length;
	struct refd_pins pins;
	u64 beats;			/* count that the DMA stream writes */
	struct work_struct stream;

	/* The clock ticks from since until until, U64_MAX while the device runs. */
	u64 clock_since;
	u64 clock_until;

	u32 state;
	u32 previous_state;
	struct refd_past past;
	bool stuck;			/* RUNNING, and yet standing still */
	bool restless;			/* the reverse */
	u64 last_beat;			/* when the DMA stream writes once more though stopped */
	u64 last_read;			/* what the last read of a register of region 9 gave */
	/* What defects let the user write where nothing can be written */
	u32 reserved;
	u64 pending;
	bool pending_written;
	u64 data_offset;

	/* Settled under the lock, for options and defects may change at any time */
	u32 buffer_offset;		/* in the window, of the first buffer */
	u32 buffer_size;		/* bytes at most */
	u32 buffer_step;		/* from one place for a buffer to the next */
	u32 buffer_places;
	u32 buffer_drift;		/* added to all places but the first, by a defect */

	struct refd_transfer transfer;
	struct refd_image *image;	/* being saved or restored */
	void *window;			/* the migration region; mappable */
	void *shadow;			/* as large: what reads show when stale is set */
	void *bounce;			/* REFD_BOUNCE_SIZE bytes, for one call */
	struct refd_range present;	/* the buffer that is there to be read */

	/* More of what defects leave behind */
	bool stale;			/* the window shows the last buffer */
	bool wedged;			/* resume data was refused */
	bool asked_again;		/* pending_bytes was, in the last pre-copy */
	bool bad_size;			/* a data_size past the end was refused */
	bool error_outlives;		/* the device was closed in the error state */
	bool missing;			/* a byte of the window is late: */
	u32 missing_at;
	u8 missing_byte;
	struct delayed_work late;	/* brings it */
};

enum refd_data_section {
	REFD_DATA_MAPPED,
	REFD_DATA_TRAPPED,
	REFD_DATA_PARTITIONED,
};

/* main.c: options, and the ends of a device's life */
enum refd_data_section refd_data_section(void);
bool refd_undrawn_refused(void);
bool refd_read_only_refused(void);
bool refd_offset_moves(void);
bool refd_pre_copy_has_data(void);
bool refd_quiet(void);
u32 refd_buffer(void);
u32 refd_slow(void);
void refd_settle_all(void);

/* regions.c: what the user asks for through the device's file */
ssize_t refd_read(struct vfio_device *vdev, char __user *buffer, size_t count, loff_t *offset);
ssize_t refd_write(struct vfio_device *vdev, const char __user *buffer, size_t count,
		   loff_t *offset);
int refd_mmap(struct vfio_device *vdev, struct vm_area_struct *vma);
u32 refd_region_count(void);
long refd_get_region_info(struct refd_device *refd, unsigned long argument);

/* registers.c: region 0 and the clock; all with the lock held */
u64 refd_register(struct refd_device *refd, enum refd_register which);
void refd_set_register(struct refd_device *refd, enum refd_register which, u64 value);
int refd_registers_read(struct refd_device *refd, u32 offset, u32 width, u64 *value);
int refd_registers_write(struct refd_device *refd, u32 offset, u32 width, u64 value);
void refd_clock_fold(struct refd_device *refd);
bool refd_works(struct refd_device *refd);
void refd_settle(struct refd_device *refd);

/* dma.c: with the lock held, but for the work function */
void refd_doorbell(struct refd_device *refd, u8 value);
void refd_stream_start(struct refd_device *refd);
void refd_stream_work(struct work_struct *work);

/* pins.c: with the device's lock held, but for the container's call */
int refd_pins_init(struct refd_pins *pins);
void refd_pins_free(struct refd_pins *pins);
int refd_pin(struct refd_device *refd, u32 what);
void refd_unpin_all(struct refd_device *refd);
void refd_dma_unmap(struct vfio_device *vdev, u64 iova, u64 length);

/* section.c: the memory behind region 9; all with the lock held, but for the work function */
u32 refd_migration_size(struct refd_device *refd);
bool refd_mappable(struct refd_device *refd, u64 *offset, u64 *size);
void refd_section_settle(struct refd_device *refd);
void refd_section_clear(struct refd_device *refd);
u32 refd_place(struct refd_device *refd, u32 number);
u8 *refd_section_room(struct refd_device *refd, u32 place);
void refd_section_show(struct refd_device *refd, u32 place, u32 size);
void refd_section_hide(struct refd_device *refd, u32 start);
const u8 *refd_section_taken(struct refd_device *refd, u32 place);
void refd_section_withdraw(struct refd_device *refd);
void refd_section_delay(struct refd_device *refd);
void refd_late_work(struct work_struct *work);
ssize_t refd_section_read(struct refd_device *refd, char __user *buffer, size_t count, u32 place);
ssize_t refd_section_write(struct refd_device *refd, const char __user *buffer, size_t count,
			   u32 place);

/* transfer.c: the device's state as data; all with the lock held */
bool refd_saving(struct refd_device *refd);
u64 refd_left(struct refd_device *refd);
bool refd_at_last(struct refd_device *refd);
void refd_begin_transfer(struct refd_device *refd, u32 offered);
void refd_pending_asked(struct refd_device *refd);
void refd_advance(struct refd_device *refd);
bool refd_returns_early(struct refd_device *refd);
int refd_stage(struct refd_device *refd);
void refd_reveal(struct refd_device *refd);
void refd_end_saving(struct refd_device *refd);
int refd_consume(struct refd_device *refd, u64 size);
int refd_finish_resuming(struct refd_device *refd, bool works);

/* lost.c: without the lock */
void refd_strike(void);

/* state_defects.c: device_state as defects have it; all with the lock held */
int refd_refusal(struct refd_device *refd, u32 from, u32 to);
void refd_note_move(struct refd_device *refd, u32 from, u32 to);
void refd_note_start(struct refd_device *refd, u32 before);
void refd_note_open(struct refd_device *refd);
int refd_state_asked(struct refd_device *refd);
u32 refd_reported_state(struct refd_device *refd);
bool refd_confused(struct refd_device *refd, u32 value);
u32 refd_meaning(u32 value);
bool refd_takes(u32 from, u32 value);
bool refd_leaves_error(struct refd_device *refd, u32 to);
u32 refd_end(u32 from, u32 to, bool is_drawn);
ssize_t refd_answer(struct refd_device *refd, u32 from, u32 value);
ssize_t refd_answer_refused(struct refd_device *refd, u32 from, u32 value, int error);
bool refd_should_work(struct refd_device *refd);
bool refd_stays_stopped(u32 from, u32 to);
bool refd_stops_late(struct refd_device *refd);
void refd_disturb_work(struct refd_device *refd);
int refd_reset_refusal(struct refd_device *refd);
u32 refd_after_reset(struct refd_device *refd);
u32 refd_after_close(struct refd_device *refd);

/* migration.c: the registers of region 9; all with the lock held */
u32 refd_state(struct refd_device *refd);
u32 refd_data_offset(struct refd_device *refd);
void refd_set_state(struct refd_device *refd, u32 state);
ssize_t refd_migration_read(struct refd_device *refd, u32 offset, u32 width, u8 *bytes);
ssize_t refd_migration_write(struct refd_device *refd, u32 offset, u32 width, u64 value);
int refd_reset(struct refd_device *refd);
void refd_opened(struct refd_device *refd);
void refd_closed(struct refd_device *refd);

static inline struct refd_device *to_refd(struct vfio_device *vdev)
{
	return container_of(vdev, struct refd_device, vdev);
}

#endif
