/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The reference device as a kernel module: what its parts share.
 *
 * Locks: refd_device.lock guards everything that changes, and is held over
 * DMA, so that no DMA is under way once the device has been stopped. Under
 * it come the container's lock and the user's mmap_lock, taken inside
 * vfio_dma_rw() and the copies to and from user memory; hence mmap, called
 * with mmap_lock held, must never take it. Nor must the container's call before
 * it unmaps: refd_pins.lock, which comes under refd_device.lock, is all it needs.
 */
#ifndef VFIO_REFDRIVER_H
#define VFIO_REFDRIVER_H

#include <linux/mutex.h>
#include <linux/semaphore.h>
#include <linux/sizes.h>
#include <linux/types.h>
#include <linux/workqueue.h>

#include "compat.h"

#define REFD_NAME		"vfio_refdriver"

#define REFD_DMA_MAX		SZ_64K
#define REFD_BOUNCE_SIZE	SZ_16K

#define REFD_CONFIG_SIZE	256	/* of a conventional PCI device */

/* The migration region: a page of trapped registers, then the data section. */
#define REFD_REGION_SHIFT	40	/* file offset: region index in the upper bits, place in the lower */
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

/* The PIN register */
#define REFD_PIN	1
#define REFD_UNPIN	2

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

/* All that is migrated, in the order in which it is sent. */
struct refd_image {
	__le64 registers[REFD_REG_COUNT];
	u8 memory[];
};

/* The registers of the migration region */
enum refd_field {
	REFD_FIELD_STATE,
	REFD_FIELD_RESERVED,
	REFD_FIELD_PENDING,
	REFD_FIELD_OFFSET,
	REFD_FIELD_SIZE,
	REFD_FIELD_COUNT
};

/* The place of each of them */
struct refd_place {
	u8 offset;
	u8 width;
};

extern const struct refd_place refd_places[REFD_FIELD_COUNT];

/* Makes a buffer checkable, after its part of the image */
#define REFD_TRAILER_SIZE	5

/* Part of the migration region */
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
};

/* What is pinned; see refd_dma_unmap() for why the lock is not a mutex. */
struct refd_pins {
	struct semaphore lock;
	struct refd_pin *ranges;
	u32 count;
	u32 pages;		/* in all ranges */
};

struct refd_device {
	struct vfio_device vdev;
	const struct refd_ops *ops;
	void *private;			/* of the code that laid other operations over these */
	struct mutex lock;
	bool open;

	/* Sizes in bytes, from one user to the next */
	u32 memory_size;
	u32 section_size;

	u8 config[REFD_CONFIG_SIZE];

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

	/* Settled under the lock, for options may change at any time */
	u32 buffer_offset;		/* in the window, of the first buffer */
	u32 buffer_end;			/* in the window, of the room for buffers */
	u32 buffer_size;		/* bytes at most */
	u32 buffer_step;		/* from one place for a buffer to the next */
	u32 buffer_places;

	struct refd_transfer transfer;
	struct refd_image *image;	/* being saved or restored */
	void *window;			/* the migration region; mappable */
	void *bounce;			/* REFD_BOUNCE_SIZE bytes, for one call */
};

/*
 * The steps in which the driver does its work. It calls each through the
 * device's table, refd_plain_ops unless others were laid over these, and
 * each is found as refd_NAME() in the file named here.
 */
struct refd_ops {
	/* regions.c; without the lock */
	u32 (*region_count)(struct refd_device *refd);
	int (*announce)(struct refd_device *refd, struct vfio_info_cap *caps);
	int (*describe)(struct refd_device *refd, struct vfio_region_info *info,
			struct vfio_info_cap *caps);
	u32 (*list_areas)(struct refd_device *refd, struct vfio_region_sparse_mmap_area *areas);
	ssize_t (*write_region)(struct refd_device *refd, u64 index, const char __user *buffer,
				size_t count, u32 place);

	/* registers.c, dma.c: running and stopped */
	bool (*should_work)(struct refd_device *refd);
	void (*halt)(struct refd_device *refd);
	bool (*streams)(struct refd_device *refd);

	/* migration.c: the registers of region 9 */
	enum refd_field (*find)(struct refd_device *refd, u32 offset, u32 width);
	ssize_t (*migration_read)(struct refd_device *refd, u32 offset, u32 width, u8 *bytes);
	ssize_t (*migration_write)(struct refd_device *refd, u32 offset, u32 width, u64 value);
	int (*touch)(struct refd_device *refd, enum refd_field field);
	u64 (*peek)(struct refd_device *refd, enum refd_field field);
	ssize_t (*store)(struct refd_device *refd, enum refd_field field, u64 value);

	/* states.c */
	ssize_t (*write_state)(struct refd_device *refd, u32 value);
	int (*change_state)(struct refd_device *refd, u32 value);
	bool (*is_state)(struct refd_device *refd, u32 value);
	int (*check)(struct refd_device *refd, u32 from, u32 to);
	int (*transition)(struct refd_device *refd, u32 from, u32 to);
	void (*enter)(struct refd_device *refd, u32 state);
	int (*reset)(struct refd_device *refd);
	void (*restart)(struct refd_device *refd);
	void (*opened)(struct refd_device *refd);
	void (*hand_over)(struct refd_device *refd);

	/* section.c; mappable() without the lock */
	bool (*mappable)(struct refd_device *refd, u64 *offset, u64 *size);
	void (*lay_out)(struct refd_device *refd);
	u32 (*place)(struct refd_device *refd, u32 number);
	u8 *(*room)(struct refd_device *refd, u32 place);
	const u8 *(*taken)(struct refd_device *refd, u32 place);
	ssize_t (*section_read)(struct refd_device *refd, char __user *buffer, size_t count,
				u32 place);
	ssize_t (*section_write)(struct refd_device *refd, const char __user *buffer,
				 size_t count, u32 place);

	/* transfer.c: saving */
	void (*take_image)(struct refd_device *refd);
	void (*begin_saving)(struct refd_device *refd);
	int (*make_buffer)(struct refd_device *refd);
	void (*work)(struct refd_device *refd);
	void (*offer)(struct refd_device *refd);
	u32 (*lay)(struct refd_device *refd, u8 *room, u32 start, u32 length, u32 *crc);
	void (*advance)(struct refd_device *refd);

	/* transfer.c: resuming */
	int (*consume)(struct refd_device *refd, u64 size);
	int (*apply)(struct refd_device *refd, const struct refd_range *buffer);
	const u8 *(*keep)(struct refd_device *refd, const u8 *bytes, u32 length);
	bool (*is_whole)(struct refd_device *refd);
	int (*finish_resuming)(struct refd_device *refd, bool works);
	void (*adopt)(struct refd_device *refd);
};

extern const struct refd_ops refd_plain_ops;

/* Lets other operations be laid over the device's; to be called before it is registered. */
int refd_overlay(struct refd_device *refd);

enum refd_data_section {
	REFD_DATA_MAPPED,
	REFD_DATA_TRAPPED,
	REFD_DATA_PARTITIONED,
};

/* main.c: options */
enum refd_data_section refd_data_section(void);
bool refd_undrawn_refused(void);
bool refd_read_only_refused(void);
bool refd_offset_moves(void);
bool refd_pre_copy_has_data(void);
bool refd_quiet(void);
u32 refd_buffer(void);
u32 refd_slow(void);

/* regions.c: what the user asks for through the device's file */
#define REFD_REGION_MIGRATION	VFIO_PCI_NUM_REGIONS
#define REFD_REGION_COUNT	(VFIO_PCI_NUM_REGIONS + 1)
#define REFD_AREAS_MAX		4

ssize_t refd_read(struct vfio_device *vdev, char __user *buffer, size_t count, loff_t *offset);
ssize_t refd_write(struct vfio_device *vdev, const char __user *buffer, size_t count,
		   loff_t *offset);
int refd_mmap(struct vfio_device *vdev, struct vm_area_struct *vma);
long refd_get_region_info(struct refd_device *refd, unsigned long argument);
u32 refd_region_size(struct refd_device *refd, u64 index);
u32 refd_region_count(struct refd_device *refd);
int refd_add_type(struct vfio_info_cap *caps, u32 type, u32 subtype);
int refd_announce(struct refd_device *refd, struct vfio_info_cap *caps);
int refd_describe(struct refd_device *refd, struct vfio_region_info *info,
		  struct vfio_info_cap *caps);
u32 refd_list_areas(struct refd_device *refd, struct vfio_region_sparse_mmap_area *areas);
ssize_t refd_write_region(struct refd_device *refd, u64 index, const char __user *buffer,
			  size_t count, u32 place);

/* config.c: region 7; all with the lock held */
void refd_config_reset(struct refd_device *refd);
void refd_config_write(struct refd_device *refd, u32 place, const u8 *bytes, u32 count);

/* registers.c: region 0 and the clock; all with the lock held */
u64 refd_register(struct refd_device *refd, enum refd_register which);
void refd_set_register(struct refd_device *refd, enum refd_register which, u64 value);
int refd_registers_read(struct refd_device *refd, u32 offset, u32 width, u64 *value);
int refd_registers_write(struct refd_device *refd, u32 offset, u32 width, u64 value);
void refd_clock_fold(struct refd_device *refd);
bool refd_works(struct refd_device *refd);
bool refd_should_work(struct refd_device *refd);
void refd_halt(struct refd_device *refd);
void refd_settle(struct refd_device *refd);

/* dma.c: with the lock held, except for the work function */
void refd_doorbell(struct refd_device *refd, u8 value);
bool refd_stream_on(struct refd_device *refd);
bool refd_streams(struct refd_device *refd);
void refd_beat(struct refd_device *refd);
void refd_stream_start(struct refd_device *refd);
void refd_stream_work(struct work_struct *work);

/* pins.c: with the device's lock held, except for the container's call */
int refd_pins_init(struct refd_pins *pins);
void refd_pins_free(struct refd_pins *pins);
int refd_pin(struct refd_device *refd, u32 what, u64 iova, u64 length);
void refd_unpin_all(struct refd_device *refd);
void refd_dma_unmap(struct vfio_device *vdev, u64 iova, u64 length);

/* attributes.c: for the driver's devices */
extern const struct attribute_group *refd_attribute_groups[];

/* migration.c: the registers of region 9; all with the lock held */
enum refd_field refd_find(struct refd_device *refd, u32 offset, u32 width);
ssize_t refd_migration_read(struct refd_device *refd, u32 offset, u32 width, u8 *bytes);
ssize_t refd_migration_write(struct refd_device *refd, u32 offset, u32 width, u64 value);
int refd_touch(struct refd_device *refd, enum refd_field field);
u64 refd_peek(struct refd_device *refd, enum refd_field field);
ssize_t refd_store(struct refd_device *refd, enum refd_field field, u64 value);

/* states.c: device_state, reset, open, close; all with the lock held */
bool refd_drawn(u32 from, u32 to);
ssize_t refd_write_state(struct refd_device *refd, u32 value);
int refd_change_state(struct refd_device *refd, u32 value);
bool refd_is_state(struct refd_device *refd, u32 value);
int refd_check(struct refd_device *refd, u32 from, u32 to);
int refd_transition(struct refd_device *refd, u32 from, u32 to);
void refd_enter(struct refd_device *refd, u32 state);
int refd_reset(struct refd_device *refd);
void refd_restart(struct refd_device *refd);
void refd_opened(struct refd_device *refd);
void refd_closed(struct refd_device *refd);
void refd_hand_over(struct refd_device *refd);

/* section.c: the memory behind region 9; all except mappable() with the lock held */
u32 refd_migration_size(struct refd_device *refd);
bool refd_mappable(struct refd_device *refd, u64 *offset, u64 *size);
void refd_divide(struct refd_device *refd, u32 first, u32 end);
void refd_lay_out(struct refd_device *refd);
u32 refd_place(struct refd_device *refd, u32 number);
u32 refd_data_offset(struct refd_device *refd);
u8 *refd_room(struct refd_device *refd, u32 place);
const u8 *refd_taken(struct refd_device *refd, u32 place);
void refd_section_clear(struct refd_device *refd);
ssize_t refd_section_read(struct refd_device *refd, char __user *buffer, size_t count, u32 place);
ssize_t refd_section_write(struct refd_device *refd, const char __user *buffer, size_t count,
			   u32 place);

/* transfer.c: the device's state as data; all with the lock held */
u32 refd_image_size(struct refd_device *refd);
u8 *refd_image_bytes(struct refd_device *refd);
bool refd_saving(struct refd_device *refd);
u32 refd_step(struct refd_device *refd);
u64 refd_left(struct refd_device *refd);
void refd_begin_transfer(struct refd_device *refd);
void refd_take_image(struct refd_device *refd);
void refd_begin_saving(struct refd_device *refd);
void refd_advance(struct refd_device *refd);
int refd_stage(struct refd_device *refd);
int refd_make_buffer(struct refd_device *refd);
void refd_work(struct refd_device *refd);
void refd_offer(struct refd_device *refd);
u32 refd_lay(struct refd_device *refd, u8 *room, u32 start, u32 length, u32 *crc);
int refd_consume(struct refd_device *refd, u64 size);
int refd_apply(struct refd_device *refd, const struct refd_range *buffer);
const u8 *refd_keep(struct refd_device *refd, const u8 *bytes, u32 length);
bool refd_is_whole(struct refd_device *refd);
int refd_finish_resuming(struct refd_device *refd, bool works);
void refd_adopt(struct refd_device *refd);

static inline struct refd_device *to_refd(struct vfio_device *vdev)
{
	return container_of(vdev, struct refd_device, vdev);
}

#endif
