/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Named ways in which the device breaks one rule of the interface each.
 *
 * They belong to the module, not to one device, and are chosen through the
 * parameter "defects". A hook reads: if (defect(STOP_LATE)) ...
 */
#ifndef VFIO_REFDRIVER_DEFECTS_H
#define VFIO_REFDRIVER_DEFECTS_H

#include <linux/types.h>

#define REFD_DEFECTS(X)								\
	/* The region and its registers */					\
	/* the type capability says subtype 0 */				\
	X(REGION_SUBTYPE_ZERO, "region-subtype-zero")				\
	/* the region has no type capability */					\
	X(REGION_TYPE_MISSING, "region-type-missing")				\
	/* a reset takes the type capability away until the next open */ \
	X(REGION_TYPE_LOST_BY_RESET, "region-type-lost-by-reset")		\
	/* an empty region behind all others announces itself as a migration region, too */ \
	X(REGION_ANNOUNCED_TWICE, "region-announced-twice")			\
	/* all registers lie 8 bytes further */					\
	X(HEADER_SHIFTED, "header-shifted")					\
	/* the first read of device_state answers EAGAIN in a device just opened */ \
	X(HEADER_LATE, "header-late")						\
	/* pending_bytes and reserved have changed places */			\
	X(PENDING_MISPLACED, "pending-misplaced")				\
	/* in pre-copy a read of data_size gives four bytes only */		\
	X(SIZE_READ_SHORT, "size-read-short")					\
	/* one byte of a register may be read */				\
	X(WIDTH_BYTE_READ_ACCEPTED, "width-byte-read-accepted")			\
	/* several registers may be read at once */				\
	X(WIDTH_STRADDLING_READ_ACCEPTED, "width-straddling-read-accepted")	\
	/* a read that begins at a register and is longer gives that register alone */ \
	X(WIDTH_READ_SHORT, "width-read-short")					\
	/* a read of anything but one whole register gives 0 bytes instead of an error */ \
	X(WIDTH_READ_EMPTY, "width-read-empty")					\
	/* two bytes written to device_state are taken */			\
	X(WIDTH_HALFWORD_WRITE_APPLIED, "width-halfword-write-applied")		\
	/* one byte written to device_state: an error, yet it takes effect */	\
	X(WIDTH_REFUSED_BUT_APPLIED, "width-refused-but-applied")		\
	/* of an 8-byte write at device_state the first four bytes are taken, and reported */ \
	X(WIDTH_WIDE_WRITE_APPLIED, "width-wide-write-applied")			\
	/* a write of anything but one whole register is ignored, and reported as done */ \
	X(WIDTH_WRITE_IGNORED, "width-write-ignored")				\
										\
	/* device_state, written and read */					\
	/* reads give the state before the last change */			\
	X(STATE_READ_STALE, "state-read-stale")					\
	/* after pre-copy -> stop-and-copy device_state reads pre-copy once more */ \
	X(STATE_READ_STALE_ONCE, "state-read-stale-once")			\
	/* a write that succeeds returns 0 bytes */				\
	X(STATE_WRITE_SHORT, "state-write-short")				\
	/* a successful write of device_state reports as many bytes as the state's number */ \
	X(STATE_WRITE_RETURNS_STATE, "state-write-returns-state")		\
	/* a successful write of device_state in pre-copy reports 0 bytes written */ \
	X(STATE_WRITE_SHORT_FROM_PRE_COPY, "state-write-short-from-pre-copy")	\
	/* a refused write answers success */					\
	X(STATE_FAILURE_SILENT, "state-failure-silent")				\
	/* a refused write answers 2 bytes */					\
	X(STATE_FAILURE_SHORT, "state-failure-short")				\
	/* of two refused writes of device_state in a row the second answers success */ \
	X(STATE_FAILURE_SILENT_AGAIN, "state-failure-silent-again")		\
	/* a fault that leads to the error state is answered with success */	\
	X(STATE_FAULT_SILENT, "state-fault-silent")				\
	/* a refused write stores the new bits */				\
	X(STATE_FAILURE_STORES, "state-failure-stores")				\
	/* a refused write of device_state in pre-copy leads back to RUNNING */	\
	X(STATE_FAILURE_ENDS_PRE_COPY, "state-failure-ends-pre-copy")		\
	/* 111b is read after a refused write */				\
	X(STATE_FAILURE_REPORTS_7, "state-failure-reports-7")			\
	/* the error state reads 111b */					\
	X(STATE_FAULT_REPORTS_7, "state-fault-reports-7")			\
	/* after one refused write all are refused, until reset */		\
	X(STATE_LATCHED_AFTER_FAILURE, "state-latched-after-failure")		\
	/* after two refused writes every later one is refused too, until reset */ \
	X(STATE_LATCHED_AFTER_SECOND_FAILURE, "state-latched-after-second-failure") \
	/* after a refused write in pre-copy every later one is refused too, until reset */ \
	X(STATE_LATCHED_IN_PRE_COPY, "state-latched-in-pre-copy")		\
	/* a reset in pre-copy or stop-and-copy ends in pre-copy */		\
	X(RESET_KEEPS_SAVING, "reset-keeps-saving")				\
	/* no reset in STOP */							\
	X(RESET_REFUSED_IN_STOP, "reset-refused-in-stop")			\
	/* reset fails while a buffer is there to be read */			\
	X(RESET_REFUSED_MID_BUFFER, "reset-refused-mid-buffer")			\
	/* the error state is kept over a reset */				\
	X(RESET_KEEPS_ERROR, "reset-keeps-error")				\
	/* for each user reset leaves the error state the first time only */	\
	X(RESET_RECOVERS_ONCE, "reset-recovers-once")				\
	/* after a reset in the error state stop-and-copy is refused until the next reset */ \
	X(RESET_ERROR_REFUSES_SAVING, "reset-error-refuses-saving")		\
	/* a reset ends in STOP */						\
	X(RESET_TO_STOP, "reset-to-stop")					\
	/* 010b reads back as 000b */						\
	X(STOP_AND_COPY_READS_STOP, "stop-and-copy-reads-stop")			\
	/* 011b reads back as 001b */						\
	X(PRE_COPY_READS_RUNNING, "pre-copy-reads-running")			\
	/* 101b can be written */						\
	X(STATE_INVALID_5_ACCEPTED, "state-invalid-5-accepted")			\
	/* in RESUMING 101b is accepted and read back */			\
	X(STATE_INVALID_5_IN_RESUMING, "state-invalid-5-in-resuming")		\
	/* 111b can be written */						\
	X(STATE_INVALID_7_ACCEPTED, "state-invalid-7-accepted")			\
	/* 111b is taken for pre-copy */					\
	X(STATE_INVALID_7_AS_PRE_COPY, "state-invalid-7-as-pre-copy")		\
	/* 110b can be written */						\
	X(STATE_ERROR_ACCEPTED, "state-error-accepted")				\
	/* in RESUMING a user's write of 110b succeeds and is read back */	\
	X(STATE_ERROR_ACCEPTED_IN_RESUMING, "state-error-accepted-in-resuming")	\
	/* reading pending_bytes in stop-and-copy ends in STOP */		\
	X(STATE_CHANGES_BY_ITSELF, "state-changes-by-itself")			\
	/* stop-and-copy turns into STOP when pending_bytes reads 0 */		\
	X(DRAINED_STOPS, "drained-stops")					\
	/* RESUMING turns into RUNNING when the last buffer of a state was taken */ \
	X(RESUMING_RUNS_BY_ITSELF, "resuming-runs-by-itself")			\
	/* writing RUNNING leaves the error state */				\
	X(ERROR_LEFT_BY_WRITE, "error-left-by-write")				\
	/* the second write in the error state leads out of it */		\
	X(ERROR_LEFT_BY_SECOND_WRITE, "error-left-by-second-write")		\
	/* writes in the error state succeed and do nothing */			\
	X(ERROR_WRITE_IGNORED, "error-write-ignored")				\
										\
	/* Running and stopped */						\
	/* works while bit 0 is clear, stands still while it is set */		\
	X(RUNNING_BIT_INVERTED, "running-bit-inverted")				\
	/* goes on for 20 ms after it was stopped */				\
	X(STOP_LATE, "stop-late")						\
	/* the device goes on for 20 ms after the write that leaves pre-copy has returned */ \
	X(PRE_COPY_EXIT_LATE, "pre-copy-exit-late")				\
	/* the DMA stream goes on while stopped */				\
	X(STOP_DMA_CONTINUES, "stop-dma-continues")				\
	/* one write of the DMA stream comes 20 ms after the device was stopped */ \
	X(STOP_ONE_LATE_DMA, "stop-one-late-dma")				\
	/* goes on in stop-and-copy */						\
	X(STOP_AND_COPY_KEEPS_RUNNING, "stop-and-copy-keeps-running")		\
	/* in stop-and-copy the device works again once a buffer is asked for */ \
	X(STOP_AND_COPY_WORKS_AT_DATA, "stop-and-copy-works-at-data")		\
	/* the device works in RESUMING */					\
	X(RESUMING_KEEPS_RUNNING, "resuming-keeps-running")			\
	/* stands still in pre-copy */						\
	X(PRE_COPY_STOPS, "pre-copy-stops")					\
	/* in pre-copy the device stands still once a buffer is asked for */	\
	X(PRE_COPY_STOPS_AT_DATA, "pre-copy-stops-at-data")			\
	/* stands still after resuming, though RUNNING is read */		\
	X(RESUMED_STAYS_STOPPED, "resumed-stays-stopped")			\
	/* stands still after 010 -> 001 */					\
	X(CANCELLED_STAYS_STOPPED, "cancelled-stays-stopped")			\
										\
	/* Transitions, open and close */					\
	/* each open finds STOP */						\
	X(OPEN_IN_STOP, "open-in-stop")						\
	/* whoever opens the device finds it RUNNING, and standing still until reset */ \
	X(OPEN_STANDS_STILL, "open-stands-still")				\
	/* the next user finds the last user's state, unless that was STOP */	\
	X(CLOSE_NEEDS_STOP, "close-needs-stop")					\
	/* closed in the error state, it takes two resets to leave it */ \
	X(ERROR_OUTLIVES_CLOSE, "error-outlives-close")				\
	/* a device closed in RESUMING is in RESUMING for the next user */	\
	X(CLOSE_KEEPS_RESUMING, "close-keeps-resuming")				\
	/* 001 -> 000 refused */						\
	X(STOP_REFUSED, "stop-refused")						\
	/* RUNNING -> STOP refused while the DMA stream is on */		\
	X(STOP_REFUSED_WHILE_BUSY, "stop-refused-while-busy")			\
	/* stop-and-copy -> STOP is refused to those who came through pre-copy */ \
	X(STOP_REFUSED_AFTER_PRE_COPY, "stop-refused-after-pre-copy")		\
	/* 010 -> 000 refused */						\
	X(STOP_AND_COPY_TO_STOP_REFUSED, "stop-and-copy-to-stop-refused")	\
	/* stop-and-copy -> STOP ends in RUNNING */				\
	X(STOP_AND_COPY_TO_STOP_RUNS, "stop-and-copy-to-stop-runs")		\
	/* 001 -> 011 refused */						\
	X(PRE_COPY_REFUSED, "pre-copy-refused")					\
	/* RUNNING -> pre-copy refused once the device was resumed, until reset */ \
	X(PRE_COPY_REFUSED_AFTER_RESUME, "pre-copy-refused-after-resume")	\
	/* leaving 011 while pending_bytes > 0 refused */			\
	X(PRE_COPY_MUST_DRAIN, "pre-copy-must-drain")				\
	/* leaving 010 while pending_bytes > 0 refused */			\
	X(STOP_AND_COPY_MUST_DRAIN, "stop-and-copy-must-drain")			\
	/* leaving a saving state refused while a buffer is there to be read */	\
	X(LEAVE_MID_BUFFER_REFUSED, "leave-mid-buffer-refused")			\
	/* 011 -> 010 refused */						\
	X(PRE_COPY_TO_STOP_AND_COPY_REFUSED, "pre-copy-to-stop-and-copy-refused") \
	/* 001 -> 100 refused */						\
	X(RESUMING_REFUSED, "resuming-refused")					\
	/* RESUMING -> RUNNING refused with a whole state */			\
	X(RESUMED_REFUSED, "resumed-refused")					\
	/* RUNNING -> RESUMING refused to those who saved before, reset or not */ \
	X(RESUMING_REFUSED_AFTER_SAVING, "resuming-refused-after-saving")	\
	/* a transition that is not drawn ends in a third state */		\
	X(UNDRAWN_WRONG_STATE, "undrawn-wrong-state")				\
	/* a transition that is not drawn succeeds, and the state stays */	\
	X(UNDRAWN_IGNORED, "undrawn-ignored")					\
	/* after pre-copy -> RESUMING every reset fails until the device is opened again */ \
	X(UNDRAWN_WEDGES, "undrawn-wedges")					\
	/* pre-copy -> RUNNING is refused */					\
	X(CANCEL_REFUSED, "cancel-refused")					\
	/* writing the present state ends in STOP */				\
	X(SELF_WRITE_MOVES, "self-write-moves")					\
	/* writing the present state ends what is pending */			\
	X(SELF_WRITE_ENDS_DATA, "self-write-ends-data")				\
	/* writing RESUMING in RESUMING succeeds and leads to RUNNING */	\
	X(SELF_WRITE_RESUMING_RUNS, "self-write-resuming-runs")			\
	/* with any of bits 3-31 all is stored, and bits 0-2 shifted */		\
	X(RESERVED_BITS_CONFUSE, "reserved-bits-confuse")			\
	/* a write with bit 31 set is taken for STOP */				\
	X(RESERVED_BIT_31_STOPS, "reserved-bit-31-stops")			\
	/* a write with one of bits 3-31 set succeeds and does nothing */	\
	X(RESERVED_BITS_SWALLOWED, "reserved-bits-swallowed")			\
										\
	/* Saving and resuming */						\
	/* nothing is ever pending */						\
	X(SAVING_IGNORED, "saving-ignored")					\
	/* nothing is pending in pre-copy */					\
	X(PRE_COPY_SILENT, "pre-copy-silent")					\
	/* nothing is pending in stop-and-copy after pre-copy */		\
	X(PRE_COPY_SAYS_ALL, "pre-copy-says-all")				\
	/* nothing is pending in stop-and-copy after STOP */			\
	X(STOP_SAVES_NOTHING, "stop-saves-nothing")				\
	/* the last buffer is never offered, nor missed */			\
	X(SAVE_STREAM_TRUNCATED, "save-stream-truncated")			\
	/* zeros past the first page of a buffer */				\
	X(SAVE_FIRST_PAGE_ONLY, "save-first-page-only")				\
	/* 010 -> 000 clears the memory */					\
	X(SAVED_STATE_DROPPED, "saved-state-dropped")				\
	/* stop-and-copy offers what was there on entering pre-copy */		\
	X(PRE_COPY_SNAPSHOT_ONLY, "pre-copy-snapshot-only")			\
	/* the same of the registers alone */					\
	X(PRE_COPY_REGISTERS_STALE, "pre-copy-registers-stale")			\
	/* changes of memory's second half after pre-copy offered it are lost */ \
	X(PRE_COPY_DROPS_LATE_CHANGE, "pre-copy-drops-late-change")		\
	/* reading pending_bytes again drops a buffer */			\
	X(PENDING_READ_ADVANCES, "pending-read-advances")			\
	/* reading pending_bytes again spoils the next buffer */		\
	X(PENDING_READ_CHANGES_BUFFER, "pending-read-changes-buffer")		\
	/* the same as pre-copy-snapshot-only once it was read again there */ \
	X(PENDING_READ_FORGETS_CHANGES, "pending-read-forgets-changes")		\
	/* pending_bytes is 0 once before the last buffer */			\
	X(PENDING_RETURNS, "pending-returns")					\
	/* pending_bytes is 1 from its third read after the last buffer on */ \
	X(PENDING_RETURNS_LATER, "pending-returns-later")			\
	/* pending_bytes is 0 while the last buffer is to come */		\
	X(PENDING_ZERO_EARLY, "pending-zero-early")				\
	/* pending_bytes has to be read twice before a buffer */		\
	X(TWO_PENDING_READS_NEEDED, "two-pending-reads-needed")			\
	/* the first read of data_offset in stop-and-copy is refused */		\
	X(OFFSET_REFUSED_WHILE_PENDING, "offset-refused-while-pending")		\
	/* the same in pre-copy */						\
	X(OFFSET_REFUSED_IN_PRE_COPY, "offset-refused-in-pre-copy")		\
	/* the same for the last buffer */					\
	X(OFFSET_REFUSED_AT_LAST, "offset-refused-at-last")			\
	/* reading data_offset again goes on to the next buffer */		\
	X(OFFSET_READ_ADVANCES, "offset-read-advances")				\
	/* the same in pre-copy alone */					\
	X(OFFSET_READ_ADVANCES_IN_PRE_COPY, "offset-read-advances-in-pre-copy") \
	/* from the second buffer on it reads 8 more when read again */		\
	X(OFFSET_REREADS_DRIFT, "offset-rereads-drift")				\
	/* the last byte comes 20 ms after data_offset was read */		\
	X(OFFSET_RETURNS_EARLY, "offset-returns-early")				\
	/* the same from the second buffer on */				\
	X(OFFSET_RETURNS_EARLY_LATER, "offset-returns-early-later")		\
	/* the data appears only when data_size is read */			\
	X(DATA_LAZY_ON_SIZE, "data-lazy-on-size")				\
	/* the same from the second buffer on */				\
	X(DATA_LAZY_LATER, "data-lazy-later")					\
	/* the same past the first page of a buffer */				\
	X(DATA_LAZY_PAST_PAGE, "data-lazy-past-page")				\
	/* the first buffer is an empty one */					\
	X(SIZE_ZERO_WHILE_PENDING, "size-zero-while-pending")			\
	/* the same in pre-copy alone */					\
	X(SIZE_ZERO_IN_PRE_COPY, "size-zero-in-pre-copy")			\
	/* an empty buffer before the last one */				\
	X(SIZE_ZERO_BEFORE_LAST, "size-zero-before-last")			\
	/* data_size is one too small */					\
	X(SIZE_OFF_BY_ONE, "size-off-by-one")					\
	/* data_size reads 0 the second time */					\
	X(SIZE_READ_ONCE, "size-read-once")					\
	/* data_size cannot be read while saving */				\
	X(DATA_SIZE_READ_REFUSED, "data-size-read-refused")			\
	/* the same for the last buffer */					\
	X(SIZE_REFUSED_AT_LAST, "size-refused-at-last")				\
	/* the same buffer for ever */						\
	X(BUFFER_NEVER_ADVANCES, "buffer-never-advances")			\
	/* the first buffer again in place of the second */			\
	X(BUFFER_RESENT, "buffer-resent")					\
	/* a fault while saving ends the stream */				\
	X(FAULT_TRUNCATES, "fault-truncates")					\
	/* a fault while saving makes an empty buffer */			\
	X(FAULT_EMPTIES_BUFFER, "fault-empties-buffer")				\
	/* a fault while saving goes unsaid, the buffer is garbage */		\
	X(FAULT_BAD_DATA, "fault-bad-data")					\
	/* the same in pre-copy alone */					\
	X(FAULT_IN_PRE_COPY_SILENT, "fault-in-pre-copy-silent")			\
	/* data_size cannot be written in RESUMING */				\
	X(RESUMING_DATA_REFUSED, "resuming-data-refused")			\
	/* a data_size that is no multiple of 8 is refused */			\
	X(RESUME_ODD_SIZE_REFUSED, "resume-odd-size-refused")			\
	/* writing data_size returns 4 bytes */					\
	X(RESUME_SIZE_SHORT, "resume-size-short")				\
	/* data is refused from the second RESUMING since reset on */		\
	X(RESUME_AGAIN_REFUSED, "resume-again-refused")				\
	/* data_offset moves on by a buffer each time */			\
	X(RESUME_OFFSET_MARCHES, "resume-offset-marches")			\
	/* data is taken and thrown away */					\
	X(RESUMING_DATA_IGNORED, "resuming-data-ignored")			\
	/* the same from the second RESUMING since reset on */			\
	X(RESUME_AGAIN_IGNORED, "resume-again-ignored")				\
	/* registers come back without bits 32 and up */			\
	X(RESUME_HIGH_HALF_LOST, "resume-high-half-lost")			\
	/* only the last buffer written counts */				\
	X(RESUME_LAST_BUFFER_ONLY, "resume-last-buffer-only")			\
	/* the second buffer is thrown away */					\
	X(RESUME_DROPS_A_BUFFER, "resume-drops-a-buffer")			\
	/* zeros past the first page of a buffer */				\
	X(RESUME_FIRST_PAGE_ONLY, "resume-first-page-only")			\
	/* data_offset can be read once in RESUMING */				\
	X(SECOND_OFFSET_REFUSED, "second-offset-refused")			\
	/* data_offset cannot be read before pending_bytes was */		\
	X(RESUME_OFFSET_WANTS_PENDING, "resume-offset-wants-pending")		\
	/* a buffer has to be written at once */				\
	X(DATA_WRITE_WHOLE_ONLY, "data-write-whole-only")			\
	/* writes of less than 4 bytes are refused */				\
	X(DATA_WRITE_NARROW_REFUSED, "data-write-narrow-refused")		\
	/* writes of less than 4 bytes go to a multiple of 4 */			\
	X(DATA_WRITE_NARROW_MISPLACED, "data-write-narrow-misplaced")		\
	/* what is written to mapped memory is not seen */			\
	X(MAPPED_WRITES_UNSEEN, "mapped-writes-unseen")				\
	/* a buffer is consumed when the next one is given */			\
	X(DATA_CONSUMED_LATE, "data-consumed-late")				\
	/* no reset once data was refused */					\
	X(BAD_DATA_WEDGES, "bad-data-wedges")					\
	/* bad data is taken and thrown away, half a state will do */		\
	X(BAD_DATA_SWALLOWED, "bad-data-swallowed")				\
	/* a reset ends in RESUMING after a data_size past the end */		\
	X(BAD_SIZE_OUTLIVES_RESET, "bad-size-outlives-reset")			\
	/* the state refused at the end of RESUMING is read */			\
	X(HALF_STATE_READS_NEXT, "half-state-reads-next")			\
	/* 101b is read after RESUMING was left without data */			\
	X(EARLY_LEAVE_WEDGES, "early-leave-wedges")				\
										\
	/* The other registers and the data section */				\
	/* reserved reads 0xdeadbeef */						\
	X(RESERVED_GARBAGE, "reserved-garbage")					\
	/* reserved cannot be read */						\
	X(RESERVED_READ_REFUSED, "reserved-read-refused")			\
	/* reserved reads what the register read before it gave */		\
	X(RESERVED_STALE, "reserved-stale")					\
	/* reserved cannot be written */					\
	X(RESERVED_WRITE_REFUSED, "reserved-write-refused")			\
	/* writing reserved answers 0 bytes */					\
	X(RESERVED_WRITE_EMPTY, "reserved-write-empty")				\
	/* reserved keeps what was written */					\
	X(RESERVED_STORED, "reserved-stored")					\
	/* reserved keeps and returns the low byte of what was written */	\
	X(RESERVED_STORED_IN_PART, "reserved-stored-in-part")			\
	/* writing pending_bytes sets it */					\
	X(PENDING_WRITABLE, "pending-writable")					\
	/* in pre-copy a write of pending_bytes sets it */			\
	X(PENDING_WRITABLE_IN_PRE_COPY, "pending-writable-in-pre-copy")		\
	/* a write of 0 to pending_bytes ends the data */			\
	X(PENDING_WRITE_ZERO_ENDS, "pending-write-zero-ends")			\
	/* writing data_offset moves it */					\
	X(DATA_OFFSET_WRITABLE, "data-offset-writable")				\
	/* while saving a write of data_offset moves it */			\
	X(DATA_OFFSET_WRITABLE_WHILE_SAVING, "data-offset-writable-while-saving") \
	/* a write of 2^32 or more to data_offset moves it */			\
	X(DATA_OFFSET_HIGH_HALF_WRITABLE, "data-offset-high-half-writable")	\
	/* data_offset reads 0 */						\
	X(DATA_OFFSET_ZERO, "data-offset-zero")					\
	/* in RESUMING data_offset lies in the registers, at 24 */		\
	X(DATA_OFFSET_IN_HEADER, "data-offset-in-header")			\
	/* data_offset counts from the start of the device's file */		\
	X(DATA_OFFSET_FILE_POSITION, "data-offset-file-position")		\
	/* the data lies 8 bytes past a page start */				\
	X(DATA_OFFSET_UNALIGNED, "data-offset-unaligned")			\
	/* the second buffer and those after it lie 8 bytes past a page start */ \
	X(DATA_OFFSET_UNALIGNED_LATER, "data-offset-unaligned-later")		\
	/* the mappable area starts at 0 */					\
	X(AREA_COVERS_REGISTERS, "area-covers-registers")			\
	/* a second mappable area is the page of the registers */		\
	X(AREA_SECOND_COVERS_REGISTERS, "area-second-covers-registers")		\
	/* the mappable area ends a page past the region */			\
	X(AREA_OUTSIDE_REGION, "area-outside-region")				\
	/* a second mappable area has 0 bytes */				\
	X(AREA_EMPTY, "area-empty")						\
	/* a second mappable area begins below 2^64 and ends past it */		\
	X(AREA_WRAPS, "area-wraps")						\
	/* the last buffer is said to lie past the end */			\
	X(OFFSET_OUTSIDE_SECTION, "offset-outside-section")			\
	/* the second buffer is said to lie at 16 */				\
	X(OFFSET_IN_REGISTERS, "offset-in-registers")				\
	/* the buffer's number is in bits 32 and up of data_offset */		\
	X(OFFSET_HIGH_HALF, "offset-high-half")					\
	/* what is mappable cannot be read otherwise */				\
	X(DATA_READ_REFUSED, "data-read-refused")				\
	/* what is mappable cannot be written otherwise */			\
	X(DATA_WRITE_REFUSED, "data-write-refused")				\
	/* past the first page of a buffer nothing can be read */		\
	X(DATA_READ_REFUSED_PAST_PAGE, "data-read-refused-past-page")		\
	/* a buffer has to be read at once */					\
	X(DATA_READ_WHOLE_ONLY, "data-read-whole-only")				\
	/* reads of less than 4 bytes are refused */				\
	X(DATA_READ_NARROW_REFUSED, "data-read-narrow-refused")			\
	/* reads of less than 4 bytes begin at a multiple of 4 */		\
	X(DATA_READ_NARROW_MISPLACED, "data-read-narrow-misplaced")		\
	/* bytes of a buffer read 0 the second time */				\
	X(DATA_READ_ONCE, "data-read-once")					\
	/* mapped memory shows the buffer before */				\
	X(MAPPED_VIEW_STALE, "mapped-view-stale")				\
	/* mapped memory shows the first page of a buffer alone */		\
	X(MAPPED_VIEW_FIRST_PAGE, "mapped-view-first-page")			\
	/* reads past the section's middle are a byte off */			\
	X(PARTITION_TORN, "partition-torn")

/*
 * Ways in which a driver loses its caller: lost.c. They break no rule, and show
 * that a run continues without that caller.
 */
#define REFD_LOSSES(X)								\
	/* the 20th write of device_state reads a null pointer; later ones do not */ \
	X(OOPS_ONCE, "oops-once")						\
	/* the 20th write of device_state sleeps, deaf to signals; later ones do not */ \
	X(HANG_ONCE, "hang-once")

enum refd_defect {
#define REFD_DEFECT_ENUM(symbol, name) REFD_DEFECT_##symbol,
	REFD_DEFECTS(REFD_DEFECT_ENUM)
	REFD_LOSSES(REFD_DEFECT_ENUM)
#undef REFD_DEFECT_ENUM
	REFD_DEFECT_COUNT
};

#define defect(symbol) refd_defect_chosen(REFD_DEFECT_##symbol)

bool refd_defect_chosen(enum refd_defect which);

#endif
