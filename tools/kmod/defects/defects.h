/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Named ways in which the device breaks one rule of the interface each.
 *
 * They belong to the module, not to one device, and are chosen through the
 * parameter "defects". Each lays a function of its own over one step of the
 * driver (struct refd_ops), a few over two: DEFECT(stop_late, "stop-late", halt)
 * is defect_stop_late() over halt(), and ALSO(x, place) is defect_x_place()
 * over place(). Such a function has the way of a good driver, or of the other
 * defects chosen, by under(stop_late)(...). Of two over one step the one that
 * stands first here is asked first.
 */
#ifndef VFIO_REFDRIVER_DEFECTS_H
#define VFIO_REFDRIVER_DEFECTS_H

#include <linux/compiler.h>
#include <linux/types.h>

#include "../vfio_refdriver.h"
#include "past.h"

#define REFD_DEFECTS(DEFECT, ALSO)						\
	/* The region and its registers */					\
	/* the type capability of the migration region says subtype 0 */	\
	DEFECT(region_subtype_zero, "region-subtype-zero", announce)		\
	/* the migration region has no type capability */			\
	DEFECT(region_type_missing, "region-type-missing", announce)		\
	/* a reset removes the type capability until the device is opened again */ \
	DEFECT(region_type_lost_by_reset, "region-type-lost-by-reset", announce) \
	/* an empty region after all others also announces itself as a migration region */ \
	DEFECT(region_announced_twice, "region-announced-twice", describe)	\
	ALSO(region_announced_twice, region_count)				\
	/* all registers of the migration region are 8 bytes further on */	\
	DEFECT(header_shifted, "header-shifted", find)				\
	/* on a newly opened device, the first read of device_state answers EAGAIN */ \
	DEFECT(header_late, "header-late", touch)				\
	/* pending_bytes is at offset 4 and reserved at 12 */			\
	DEFECT(pending_misplaced, "pending-misplaced", find)			\
	/* in pre-copy a read of data_size returns only four bytes */		\
	DEFECT(size_read_short, "size-read-short", migration_read)		\
	/* a read of anything but one whole register returns 0 bytes instead of an error */ \
	DEFECT(width_read_empty, "width-read-empty", migration_read)		\
	/* a longer read that begins at a register returns only that register */ \
	DEFECT(width_read_short, "width-read-short", migration_read)		\
	/* 1-byte reads of a register succeed */				\
	DEFECT(width_byte_read_accepted, "width-byte-read-accepted", migration_read) \
	/* reads that span several registers succeed */				\
	DEFECT(width_straddling_read_accepted, "width-straddling-read-accepted", migration_read) \
	/* reads of all registers from pending_bytes on, or of two of them, succeed */ \
	DEFECT(width_several_registers_read, "width-several-registers-read", migration_read) \
	/* 8-byte reads of the last four bytes of the header and the next four succeed */ \
	DEFECT(width_read_past_header, "width-read-past-header", migration_read) \
	/* a 2-byte write of device_state takes effect */			\
	DEFECT(width_halfword_write_applied, "width-halfword-write-applied", migration_write) \
	/* a 1-byte write of device_state answers an error, yet takes effect */	\
	DEFECT(width_refused_but_applied, "width-refused-but-applied", migration_write) \
	/* an 8-byte write at device_state writes its first four bytes, and reports 4 */ \
	DEFECT(width_wide_write_applied, "width-wide-write-applied", migration_write) \
	/* a write of anything but one whole register is ignored, and reported as done */ \
	DEFECT(width_write_ignored, "width-write-ignored", migration_write)	\
	/* 8-byte writes at the last four bytes of the header are ignored, and reported as done */ \
	DEFECT(width_write_past_header, "width-write-past-header", migration_write) \
										\
	/* device_state as it reads */						\
	/* device_state reads the state before the last change */		\
	DEFECT(state_read_stale, "state-read-stale", peek)			\
	/* after pre-copy -> stop-and-copy device_state reads pre-copy once more */ \
	DEFECT(state_read_stale_once, "state-read-stale-once", peek)		\
	/* 010b reads back as 000b */						\
	DEFECT(stop_and_copy_reads_stop, "stop-and-copy-reads-stop", peek)	\
	/* 011b reads back as 001b */						\
	DEFECT(pre_copy_reads_running, "pre-copy-reads-running", peek)		\
	/* after a refused write device_state reads 111b */			\
	DEFECT(state_failure_reports_7, "state-failure-reports-7", peek)	\
	/* the error state reads 111b */					\
	DEFECT(state_fault_reports_7, "state-fault-reports-7", peek)		\
										\
	/* What a write of device_state answers */				\
	/* a refused write of device_state answers a short count (2) instead of an error */ \
	DEFECT(state_failure_short, "state-failure-short", write_state)		\
	/* a refused write of device_state answers success; the state is kept */ \
	DEFECT(state_failure_silent, "state-failure-silent", write_state)	\
	/* the second of two refused writes of device_state in a row answers success */ \
	DEFECT(state_failure_silent_again, "state-failure-silent-again", write_state) \
	/* a fault that leads to the error state is answered with success */	\
	DEFECT(state_fault_silent, "state-fault-silent", write_state)		\
	/* a refused write of device_state in pre-copy leads back to RUNNING */	\
	DEFECT(state_failure_ends_pre_copy, "state-failure-ends-pre-copy", write_state) \
	/* a refused write of device_state stores the new bits nevertheless */	\
	DEFECT(state_failure_stores, "state-failure-stores", write_state)	\
	/* after one refused write every later one is refused as well, until reset */ \
	DEFECT(state_latched_after_failure, "state-latched-after-failure", write_state) \
	/* after two refused writes every later one is refused as well, until reset */ \
	DEFECT(state_latched_after_second_failure, "state-latched-after-second-failure", write_state)\
	/* after a refused write in pre-copy every later one is refused as well, until reset */ \
	DEFECT(state_latched_in_pre_copy, "state-latched-in-pre-copy", write_state) \
	/* a successful write of device_state reports as many bytes as the state's number */ \
	DEFECT(state_write_returns_state, "state-write-returns-state", write_state) \
	/* a successful write of device_state reports 0 bytes written */	\
	DEFECT(state_write_short, "state-write-short", write_state)		\
	/* a successful write of device_state in pre-copy reports 0 bytes written */ \
	DEFECT(state_write_short_from_pre_copy, "state-write-short-from-pre-copy", write_state) \
										\
	/* What it asks for */							\
	/* a write with one of bits 3-31 set is stored whole, bits 0-2 shifted by one */ \
	DEFECT(reserved_bits_confuse, "reserved-bits-confuse", change_state)	\
	ALSO(reserved_bits_confuse, peek)					\
	/* a write with one of bits 3-31 set succeeds and does nothing */	\
	DEFECT(reserved_bits_swallowed, "reserved-bits-swallowed", change_state) \
	/* a write with bit 31 set is treated as STOP */			\
	DEFECT(reserved_bit_31_stops, "reserved-bit-31-stops", change_state)	\
	/* 111b is accepted as pre-copy */					\
	DEFECT(state_invalid_7_as_pre_copy, "state-invalid-7-as-pre-copy", change_state) \
	/* writes in the error state succeed and do nothing */			\
	DEFECT(error_write_ignored, "error-write-ignored", change_state)	\
	/* 101b is accepted and read back */					\
	DEFECT(state_invalid_5_accepted, "state-invalid-5-accepted", is_state)	\
	/* in RESUMING 101b is accepted and read back */			\
	DEFECT(state_invalid_5_in_resuming, "state-invalid-5-in-resuming", is_state) \
	/* 111b is accepted and read back */					\
	DEFECT(state_invalid_7_accepted, "state-invalid-7-accepted", is_state)	\
	/* a user's write of 110b succeeds and is read back */			\
	DEFECT(state_error_accepted, "state-error-accepted", is_state)		\
	/* in RESUMING a user's write of 110b succeeds and is read back */	\
	DEFECT(state_error_accepted_in_resuming, "state-error-accepted-in-resuming", is_state) \
	/* writing RUNNING leaves the error state */				\
	DEFECT(error_left_by_write, "error-left-by-write", check)		\
	/* the second write in the error state leaves it */			\
	DEFECT(error_left_by_second_write, "error-left-by-second-write", check)	\
										\
	/* Transitions that are refused */					\
	/* RUNNING -> STOP is refused */					\
	DEFECT(stop_refused, "stop-refused", check)				\
	/* RUNNING -> STOP answers EBUSY while the DMA stream is on */		\
	DEFECT(stop_refused_while_busy, "stop-refused-while-busy", check)	\
	/* stop-and-copy -> STOP is refused */					\
	DEFECT(stop_and_copy_to_stop_refused, "stop-and-copy-to-stop-refused", check) \
	/* stop-and-copy -> STOP is refused if stop-and-copy was entered from pre-copy */ \
	DEFECT(stop_refused_after_pre_copy, "stop-refused-after-pre-copy", check) \
	/* RUNNING -> pre-copy is refused */					\
	DEFECT(pre_copy_refused, "pre-copy-refused", check)			\
	/* RUNNING -> pre-copy answers EBUSY once the device was resumed, until reset */ \
	DEFECT(pre_copy_refused_after_resume, "pre-copy-refused-after-resume", check) \
	/* pre-copy -> stop-and-copy is refused */				\
	DEFECT(pre_copy_to_stop_and_copy_refused, "pre-copy-to-stop-and-copy-refused", check) \
	/* RUNNING -> RESUMING is refused */					\
	DEFECT(resuming_refused, "resuming-refused", check)			\
	/* RESUMING -> RUNNING is refused after a whole state was written */	\
	DEFECT(resumed_refused, "resumed-refused", check)			\
	/* RUNNING -> RESUMING answers EBUSY if the device was saved before, even after a reset */ \
	DEFECT(resuming_refused_after_saving, "resuming-refused-after-saving", check) \
	/* pre-copy -> RUNNING is refused */					\
	DEFECT(cancel_refused, "cancel-refused", check)				\
	/* leaving pre-copy answers EBUSY while pending_bytes > 0 */		\
	DEFECT(pre_copy_must_drain, "pre-copy-must-drain", check)		\
	/* leaving stop-and-copy answers EBUSY while pending_bytes > 0 */	\
	DEFECT(stop_and_copy_must_drain, "stop-and-copy-must-drain", check)	\
	/* leaving a saving state answers EBUSY while a buffer is there to be read */ \
	DEFECT(leave_mid_buffer_refused, "leave-mid-buffer-refused", check)	\
	/* after a reset in the error state stop-and-copy is refused until the next reset */ \
	DEFECT(reset_error_refuses_saving, "reset-error-refuses-saving", check)	\
										\
	/* Transitions that go wrong, at last those that end elsewhere */	\
	/* when leaving RESUMING is refused, device_state reads the refused state */ \
	DEFECT(half_state_reads_next, "half-state-reads-next", transition)	\
	/* leaving RESUMING without data succeeds, and device_state then reads 101b */ \
	DEFECT(early_leave_wedges, "early-leave-wedges", transition)		\
	/* stop-and-copy -> STOP clears the device memory */			\
	DEFECT(saved_state_dropped, "saved-state-dropped", transition)		\
	/* after RESUMING -> RUNNING the device stays stopped */		\
	DEFECT(resumed_stays_stopped, "resumed-stays-stopped", transition)	\
	/* after stop-and-copy -> RUNNING the device stays stopped */		\
	DEFECT(cancelled_stays_stopped, "cancelled-stays-stopped", transition)	\
	/* writing the present state again while saving succeeds, but pending_bytes is 0 from then on */ \
	DEFECT(self_write_ends_data, "self-write-ends-data", transition)	\
	/* writing the present state again succeeds and puts the device into STOP */ \
	DEFECT(self_write_moves, "self-write-moves", transition)		\
	/* writing RESUMING in RESUMING succeeds and leads to RUNNING */	\
	DEFECT(self_write_resuming_runs, "self-write-resuming-runs", transition) \
	/* stop-and-copy -> STOP ends in RUNNING */				\
	DEFECT(stop_and_copy_to_stop_runs, "stop-and-copy-to-stop-runs", transition) \
	/* a transition that is not drawn succeeds but ends in a third state */	\
	DEFECT(undrawn_wrong_state, "undrawn-wrong-state", transition)		\
	/* a transition that is not drawn succeeds, but the state is unchanged */ \
	DEFECT(undrawn_ignored, "undrawn-ignored", transition)			\
	/* reading pending_bytes in stop-and-copy turns the state into STOP */	\
	DEFECT(state_changes_by_itself, "state-changes-by-itself", peek)	\
	ALSO(state_changes_by_itself, write_state)				\
	/* stop-and-copy turns into STOP when pending_bytes reads 0 */		\
	DEFECT(drained_stops, "drained-stops", touch)				\
	/* RESUMING turns into RUNNING once the last buffer of a state has been taken */ \
	DEFECT(resuming_runs_by_itself, "resuming-runs-by-itself", consume)	\
	/* 20 ms after running -> STOP the device is running again */		\
	DEFECT(stop_wears_off, "stop-wears-off", touch)				\
	ALSO(stop_wears_off, transition)					\
										\
	/* Running and stopped */						\
	/* the device is stopped in pre-copy */					\
	DEFECT(pre_copy_stops, "pre-copy-stops", should_work)			\
	/* the device runs in RESUMING */					\
	DEFECT(resuming_keeps_running, "resuming-keeps-running", should_work)	\
	/* stop-and-copy does not stop the device */				\
	DEFECT(stop_and_copy_keeps_running, "stop-and-copy-keeps-running", should_work) \
	/* the device runs while bit 0 is clear and is stopped while it is set */ \
	DEFECT(running_bit_inverted, "running-bit-inverted", should_work)	\
	/* in pre-copy the device is stopped once a buffer is asked for */	\
	DEFECT(pre_copy_stops_at_data, "pre-copy-stops-at-data", offer)		\
	/* in stop-and-copy the device runs again once a buffer is asked for */	\
	DEFECT(stop_and_copy_works_at_data, "stop-and-copy-works-at-data", offer) \
	/* the device runs on for 20 ms after the write that stops it has returned */ \
	DEFECT(stop_late, "stop-late", halt)					\
	/* the device runs on for 20 ms after the write that leaves pre-copy has returned */ \
	DEFECT(pre_copy_exit_late, "pre-copy-exit-late", halt)			\
	/* one write of the DMA stream comes 20 ms after the device was stopped */ \
	DEFECT(stop_one_late_dma, "stop-one-late-dma", halt)			\
	/* the result of the last doorbell is forgotten when the device stops */ \
	DEFECT(work_forgotten_at_stop, "work-forgotten-at-stop", halt)		\
	/* the DMA stream continues while the device is stopped */		\
	DEFECT(stop_dma_continues, "stop-dma-continues", streams)		\
										\
	/* Reset, open and close */						\
	/* once damaged data has been refused, every reset fails */		\
	DEFECT(bad_data_wedges, "bad-data-wedges", reset)			\
	/* after pre-copy -> RESUMING every reset fails until the device is opened again */ \
	DEFECT(undrawn_wedges, "undrawn-wedges", reset)				\
	/* reset fails in STOP */						\
	DEFECT(reset_refused_in_stop, "reset-refused-in-stop", reset)		\
	/* reset fails while a buffer is there to be read */			\
	DEFECT(reset_refused_mid_buffer, "reset-refused-mid-buffer", reset)	\
	/* after a data_size larger than the section was refused, reset ends in RESUMING */ \
	DEFECT(bad_size_outlives_reset, "bad-size-outlives-reset", restart)	\
	ALSO(bad_size_outlives_reset, consume)					\
	/* a device closed in the error state needs two resets by the next user to leave it */ \
	DEFECT(error_outlives_close, "error-outlives-close", hand_over)		\
	ALSO(error_outlives_close, restart)					\
	/* reset does not leave the error state */				\
	DEFECT(reset_keeps_error, "reset-keeps-error", restart)			\
	/* a reset leaves the error state only the first time for each user */	\
	DEFECT(reset_recovers_once, "reset-recovers-once", restart)		\
	/* a reset in pre-copy or stop-and-copy ends in pre-copy */		\
	DEFECT(reset_keeps_saving, "reset-keeps-saving", restart)		\
	/* reset ends in STOP */						\
	DEFECT(reset_to_stop, "reset-to-stop", restart)				\
	/* a newly opened device is in STOP */					\
	DEFECT(open_in_stop, "open-in-stop", opened)				\
	/* a newly opened device reads RUNNING, but does not run until reset */	\
	DEFECT(open_stands_still, "open-stands-still", opened)			\
	/* a device closed outside STOP keeps its state for the next user */	\
	DEFECT(close_needs_stop, "close-needs-stop", hand_over)			\
	/* a device closed in RESUMING is still in RESUMING for the next user */ \
	DEFECT(close_keeps_resuming, "close-keeps-resuming", hand_over)		\
										\
	/* Saving: what is offered */						\
	/* no data is ever offered: pending_bytes stays 0 */			\
	DEFECT(saving_ignored, "saving-ignored", begin_saving)			\
	/* in pre-copy no data is ever offered */				\
	DEFECT(pre_copy_silent, "pre-copy-silent", begin_saving)		\
	/* after pre-copy no data is offered in stop-and-copy */		\
	DEFECT(pre_copy_says_all, "pre-copy-says-all", begin_saving)		\
	/* no data is offered if stop-and-copy is entered from STOP */		\
	DEFECT(stop_saves_nothing, "stop-saves-nothing", begin_saving)		\
	/* the stream ends before its last buffer */				\
	DEFECT(save_stream_truncated, "save-stream-truncated", begin_saving)	\
	ALSO(save_stream_truncated, is_whole)					\
	/* only the first page of each buffer is filled; the rest is zero */	\
	DEFECT(save_first_page_only, "save-first-page-only", lay)		\
	/* the stream after a pre-copy holds the state as it was when pre-copy was entered */ \
	DEFECT(pre_copy_snapshot_only, "pre-copy-snapshot-only", take_image)	\
	/* after a second read of pending_bytes in pre-copy, the state sent is that on entering pre-copy */ \
	DEFECT(pending_read_forgets_changes, "pending-read-forgets-changes", take_image) \
	/* the stream after a pre-copy holds the registers as they were when pre-copy was entered */ \
	DEFECT(pre_copy_registers_stale, "pre-copy-registers-stale", take_image) \
	/* changes to the second half of memory made after pre-copy offered it are not sent */ \
	DEFECT(pre_copy_drops_late_change, "pre-copy-drops-late-change", take_image) \
	/* the result of the last doorbell is not part of the saved state */	\
	DEFECT(work_status_not_saved, "work-status-not-saved", take_image)	\
	/* a buffer is offered only after a second read of pending_bytes */	\
	DEFECT(two_pending_reads_needed, "two-pending-reads-needed", make_buffer) \
	/* a fault while saving ends the stream silently */			\
	DEFECT(fault_truncates, "fault-truncates", make_buffer)			\
	ALSO(fault_truncates, touch)						\
	/* a fault while saving gives a data_size of 0 instead of an error */	\
	DEFECT(fault_empties_buffer, "fault-empties-buffer", make_buffer)	\
	/* a fault while saving is not reported, and the buffer holds garbage */ \
	DEFECT(fault_bad_data, "fault-bad-data", make_buffer)			\
	/* a fault in pre-copy is not reported, and the buffer holds garbage */	\
	DEFECT(fault_in_pre_copy_silent, "fault-in-pre-copy-silent", make_buffer) \
	/* the first iteration has a data_size of 0 although bytes are pending */ \
	DEFECT(size_zero_while_pending, "size-zero-while-pending", offer)	\
	/* the first iteration in pre-copy has a data_size of 0 although bytes are pending */ \
	DEFECT(size_zero_in_pre_copy, "size-zero-in-pre-copy", offer)		\
	/* an iteration with a data_size of 0 comes before the last buffer */	\
	DEFECT(size_zero_before_last, "size-zero-before-last", offer)		\
	/* the first buffer is offered again instead of the second one */	\
	DEFECT(buffer_resent, "buffer-resent", lay)				\
	/* the same buffer is offered forever */				\
	DEFECT(buffer_never_advances, "buffer-never-advances", advance)		\
										\
	/* Saving: its registers */						\
	/* each further read of pending_bytes before a buffer drops one buffer */ \
	DEFECT(pending_read_advances, "pending-read-advances", touch)		\
	/* a further read of pending_bytes corrupts the first byte of the next buffer */ \
	DEFECT(pending_read_changes_buffer, "pending-read-changes-buffer", touch) \
	/* after more than twenty reads before a buffer, pending_bytes reads 0 from then on */ \
	DEFECT(pending_read_often_ends, "pending-read-often-ends", touch)	\
	/* in stop-and-copy pending_bytes is 0 twice after the last buffer, then 1 */ \
	DEFECT(pending_returns_later, "pending-returns-later", peek)		\
	/* pending_bytes reads 0 while the last buffer is still to come */	\
	DEFECT(pending_zero_early, "pending-zero-early", peek)			\
	/* in stop-and-copy pending_bytes is 0 once before the last buffer, then nonzero again */ \
	DEFECT(pending_returns, "pending-returns", peek)			\
	/* in stop-and-copy the first read of data_offset answers EAGAIN */	\
	DEFECT(offset_refused_while_pending, "offset-refused-while-pending", touch) \
	/* in pre-copy the first read of data_offset answers EAGAIN */		\
	DEFECT(offset_refused_in_pre_copy, "offset-refused-in-pre-copy", touch)	\
	/* the first read of data_offset for the last buffer answers EAGAIN */	\
	DEFECT(offset_refused_at_last, "offset-refused-at-last", touch)		\
	/* each further read of data_offset advances to the next buffer */	\
	DEFECT(offset_read_advances, "offset-read-advances", touch)		\
	/* in pre-copy each further read of data_offset advances to the next buffer */ \
	DEFECT(offset_read_advances_in_pre_copy, "offset-read-advances-in-pre-copy", touch) \
	/* the read of data_offset returns 20 ms before the last byte of the buffer is there */ \
	DEFECT(offset_returns_early, "offset-returns-early", touch)		\
	ALSO(offset_returns_early, work)					\
	/* from the second buffer on, data_offset returns 20 ms before the last byte of the buffer is there */ \
	DEFECT(offset_returns_early_later, "offset-returns-early-later", touch)	\
	ALSO(offset_returns_early_later, work)					\
	/* the data appears only when data_size is read */			\
	DEFECT(data_lazy_on_size, "data-lazy-on-size", touch)			\
	/* from the second buffer on, the data appears only when data_size is read */ \
	DEFECT(data_lazy_later, "data-lazy-later", touch)			\
	/* the data past the first page of a buffer appears only when data_size is read */ \
	DEFECT(data_lazy_past_page, "data-lazy-past-page", touch)		\
	/* reading data_size while saving answers EINVAL */			\
	DEFECT(data_size_read_refused, "data-size-read-refused", touch)		\
	/* reading data_size of the last buffer answers EINVAL */		\
	DEFECT(size_refused_at_last, "size-refused-at-last", touch)		\
	/* a second read of data_size gives 0 */				\
	DEFECT(size_read_once, "size-read-once", touch)				\
	/* data_size is one less than the size made available */		\
	DEFECT(size_off_by_one, "size-off-by-one", peek)			\
										\
	/* Resuming */								\
	/* a write of data_size in RESUMING is refused */			\
	DEFECT(resuming_data_refused, "resuming-data-refused", consume)		\
	/* in RESUMING a data_size that is not a multiple of 8 is refused */	\
	DEFECT(resume_odd_size_refused, "resume-odd-size-refused", consume)	\
	/* data written in a second RESUMING since the last reset is refused */	\
	DEFECT(resume_again_refused, "resume-again-refused", consume)		\
	/* a write of data_size in RESUMING reports 4 bytes written */		\
	DEFECT(resume_size_short, "resume-size-short", store)			\
	/* registers are restored without bits 32 and above */			\
	DEFECT(resume_high_half_lost, "resume-high-half-lost", adopt)		\
	/* only the last buffer written in RESUMING counts */			\
	DEFECT(resume_last_buffer_only, "resume-last-buffer-only", keep)	\
	/* the second buffer is accepted and discarded */			\
	DEFECT(resume_drops_a_buffer, "resume-drops-a-buffer", keep)		\
	/* in RESUMING data_offset can be read only once */			\
	DEFECT(second_offset_refused, "second-offset-refused", touch)		\
	/* in RESUMING data_offset cannot be read before pending_bytes has been read */ \
	DEFECT(resume_offset_wants_pending, "resume-offset-wants-pending", touch) \
	/* a buffer is consumed only at the next write of data_size, or when RESUMING is left */ \
	DEFECT(data_consumed_late, "data-consumed-late", apply)			\
	ALSO(data_consumed_late, finish_resuming)				\
	/* damaged data is accepted and discarded, and RESUMING can be left with the rest */ \
	DEFECT(bad_data_swallowed, "bad-data-swallowed", apply)			\
	ALSO(bad_data_swallowed, is_whole)					\
	/* data written in RESUMING is discarded */				\
	DEFECT(resuming_data_ignored, "resuming-data-ignored", apply)		\
	/* data written in a second RESUMING since the last reset is discarded */ \
	DEFECT(resume_again_ignored, "resume-again-ignored", apply)		\
	/* only the first page of each buffer is restored; the rest is zero */	\
	DEFECT(resume_first_page_only, "resume-first-page-only", apply)		\
										\
	/* The other registers */						\
	/* reading reserved answers EINVAL */					\
	DEFECT(reserved_read_refused, "reserved-read-refused", touch)		\
	/* reserved reads 0xdeadbeef */						\
	DEFECT(reserved_garbage, "reserved-garbage", peek)			\
	/* reserved reads the value of the register read before it */		\
	DEFECT(reserved_stale, "reserved-stale", peek)				\
	/* reserved keeps and returns the low byte of the written value */	\
	DEFECT(reserved_stored_in_part, "reserved-stored-in-part", peek)	\
	/* reserved keeps and returns the written value */			\
	DEFECT(reserved_stored, "reserved-stored", peek)			\
	/* writing reserved answers EINVAL */					\
	DEFECT(reserved_write_refused, "reserved-write-refused", store)		\
	/* writing reserved answers 0 bytes */					\
	DEFECT(reserved_write_empty, "reserved-write-empty", store)		\
	/* a write of 0 to pending_bytes ends the data */			\
	DEFECT(pending_write_zero_ends, "pending-write-zero-ends", store)	\
	/* a write of pending_bytes sets it */					\
	DEFECT(pending_writable, "pending-writable", store)			\
	/* in pre-copy a write of pending_bytes sets it */			\
	DEFECT(pending_writable_in_pre_copy, "pending-writable-in-pre-copy", store) \
	/* a write of data_offset moves it */					\
	DEFECT(data_offset_writable, "data-offset-writable", store)		\
	/* while saving a write of data_offset moves it */			\
	DEFECT(data_offset_writable_while_saving, "data-offset-writable-while-saving", store) \
	/* a write of 2^32 or more to data_offset moves it */			\
	DEFECT(data_offset_high_half_writable, "data-offset-high-half-writable", store) \
	/* data_offset reads 0 */						\
	DEFECT(data_offset_zero, "data-offset-zero", peek)			\
	/* in RESUMING data_offset is 24, among the registers */		\
	DEFECT(data_offset_in_header, "data-offset-in-header", peek)		\
	/* data_offset counts from the start of the device's file, not of the region */ \
	DEFECT(data_offset_file_position, "data-offset-file-position", peek)	\
	/* in RESUMING data_offset advances by the largest buffer each time, past the region's end */ \
	DEFECT(resume_offset_marches, "resume-offset-marches", peek)		\
	/* for the last buffer, data_offset + data_size is past the region's end */ \
	DEFECT(offset_outside_section, "offset-outside-section", peek)		\
	/* for the second buffer, data_offset reads 16 */			\
	DEFECT(offset_in_registers, "offset-in-registers", peek)		\
	/* from the second buffer on, a further read of data_offset gives 8 bytes past the data */ \
	DEFECT(offset_rereads_drift, "offset-rereads-drift", peek)		\
	/* the high half of data_offset holds the number of the buffer */	\
	DEFECT(offset_high_half, "offset-high-half", peek)			\
										\
	/* The data section */							\
	/* data_offset is 8 bytes past the start of a page although the data can be mapped */ \
	DEFECT(data_offset_unaligned, "data-offset-unaligned", lay_out)		\
	/* the second and later buffers are 8 bytes past the start of a page */	\
	DEFECT(data_offset_unaligned_later, "data-offset-unaligned-later", lay_out) \
	ALSO(data_offset_unaligned_later, place)				\
	/* the mappable area starts at 0 */					\
	DEFECT(area_covers_registers, "area-covers-registers", mappable)	\
	/* the mappable area reaches one page past the region's end */		\
	DEFECT(area_outside_region, "area-outside-region", mappable)		\
	/* a second mappable area is the page of the registers */		\
	DEFECT(area_second_covers_registers, "area-second-covers-registers", list_areas) \
	/* a second mappable area has 0 bytes */				\
	DEFECT(area_empty, "area-empty", list_areas)				\
	/* a second mappable area begins below 2^64 and ends past it */		\
	DEFECT(area_wraps, "area-wraps", list_areas)				\
	/* data that can be mapped cannot be read by a read */			\
	DEFECT(data_read_refused, "data-read-refused", section_read)		\
	/* a buffer must be read at once; other reads answer EINVAL */		\
	DEFECT(data_read_whole_only, "data-read-whole-only", section_read)	\
	/* reads of a buffer of less than 4 bytes answer EINVAL */		\
	DEFECT(data_read_narrow_refused, "data-read-narrow-refused", section_read) \
	/* reads that reach past the first page of a buffer answer EINVAL */	\
	DEFECT(data_read_refused_past_page, "data-read-refused-past-page", section_read) \
	/* reads of a buffer of less than 4 bytes begin at a multiple of 4 */	\
	DEFECT(data_read_narrow_misplaced, "data-read-narrow-misplaced", section_read) \
	/* bytes of a buffer read zero the second time */			\
	DEFECT(data_read_once, "data-read-once", section_read)			\
	/* reads past the first half of the data section are shifted by one byte */ \
	DEFECT(partition_torn, "partition-torn", section_read)			\
	/* data that can be mapped cannot be written by a write */		\
	DEFECT(data_write_refused, "data-write-refused", section_write)		\
	/* a buffer must be written at once; writes of parts answer EINVAL */	\
	DEFECT(data_write_whole_only, "data-write-whole-only", section_write)	\
	ALSO(data_write_whole_only, consume)					\
	/* writes to the data section of less than 4 bytes answer EINVAL */	\
	DEFECT(data_write_narrow_refused, "data-write-narrow-refused", section_write) \
	/* writes to the data section of less than 4 bytes go to a multiple of 4 */ \
	DEFECT(data_write_narrow_misplaced, "data-write-narrow-misplaced", section_write) \
	/* data written through mapped memory is not seen */			\
	DEFECT(mapped_writes_unseen, "mapped-writes-unseen", section_write)	\
	ALSO(mapped_writes_unseen, taken)					\
	/* mapped memory shows the previous buffer */				\
	DEFECT(mapped_view_stale, "mapped-view-stale", room)			\
	/* mapped memory shows only the first page of a buffer */		\
	DEFECT(mapped_view_first_page, "mapped-view-first-page", room)		\
	ALSO(mapped_view_first_page, offer)					\
										\
	/* Sessions of migration that end early, and those after them */	\
	/* data that pre-copy had still to offer is not sent in stop-and-copy either */ \
	DEFECT(left_unread_lost, "left-unread-lost", take_image)		\
	/* a buffer that pre-copy has offered counts as sent, whether read or not */ \
	DEFECT(left_offered_lost, "left-offered-lost", take_image)		\
	/* a change to the data that pre-copy is offering is not sent */	\
	DEFECT(left_change_lost, "left-change-lost", take_image)		\
	/* if stop-and-copy is left with bytes pending, the next one offers buffers of 0 bytes */ \
	DEFECT(left_poisons_next, "left-poisons-next", peek)			\
	/* after a cancelled pre-copy, the next migration sends the memory as it was then */ \
	DEFECT(left_cancelled_kept, "left-cancelled-kept", take_image)		\
	ALSO(left_cancelled_kept, transition)					\
	/* data that a cancelled pre-copy offered counts as sent the next time unless it has changed */ \
	DEFECT(left_cancelled_counts, "left-cancelled-counts", take_image)	\
	ALSO(left_cancelled_counts, transition)					\
	/* if stop-and-copy is left in the middle of a buffer, the next one begins after that buffer */ \
	DEFECT(left_buffer_skipped, "left-buffer-skipped", transition)		\
	/* after a reset in the second buffer of stop-and-copy, the next one begins after that buffer */ \
	DEFECT(left_by_reset_skipped, "left-by-reset-skipped", reset)		\
	/* a reset in the second buffer of stop-and-copy leaves the device in STOP */ \
	DEFECT(reset_in_second_buffer_stops, "reset-in-second-buffer-stops", restart) \
	/* a device reset in the second buffer of stop-and-copy does not run until its state changes */ \
	DEFECT(reset_in_buffer_freezes, "reset-in-buffer-freezes", restart)	\
	/* after a reset in RESUMING after the first buffer, the next buffer written is refused */ \
	DEFECT(resumed_in_part_remembered, "resumed-in-part-remembered", consume) \
	ALSO(resumed_in_part_remembered, reset)					\
	/* once a user has closed the device in RESUMING after some buffers, no first buffer is accepted */ \
	DEFECT(resumed_in_part_outlives_user, "resumed-in-part-outlives-user", consume) \
	ALSO(resumed_in_part_outlives_user, hand_over)				\
	/* a device resumed again without a reset takes the registers of the first state */ \
	DEFECT(resumed_again_first_registers, "resumed-again-first-registers", adopt) \
	/* the second state saved since a reset is the first one again */	\
	DEFECT(saved_again_stale, "saved-again-stale", take_image)		\
	/* after a cancelled pre-copy and a reset in the second buffer, nothing is saved */ \
	DEFECT(cancelled_then_reset_empty, "cancelled-then-reset-empty", begin_saving) \
	ALSO(cancelled_then_reset_empty, reset)					\
	/* a resumed device has nothing to save until it is reset */		\
	DEFECT(resumed_saves_nothing, "resumed-saves-nothing", begin_saving) \
	/* a resumed device saves the memory that it had before */		\
	DEFECT(resumed_saves_stale, "resumed-saves-stale", adopt)		\
	ALSO(resumed_saves_stale, take_image)					\
	/* a resumed device runs on in STOP until it is reset */		\
	DEFECT(resumed_never_stops, "resumed-never-stops", should_work)		\
										\
	/* A step that is repeated or refused in the middle, and what comes after it */ \
	/* once a buffer has been read twice, bytes are pending forever */	\
	DEFECT(reread_data_endless, "reread-data-endless", peek)		\
	/* after a repeated read of data_offset in the middle of the stream, the next buffer is skipped */ \
	DEFECT(reread_offset_skips, "reread-offset-skips", touch)		\
	/* after more than ten reads for one buffer, data_size reads one less */ \
	DEFECT(reread_size_shrinks, "reread-size-shrinks", peek)		\
	/* once a read has been refused in a saving state, no more data is offered */ \
	DEFECT(refused_read_ends_state, "refused-read-ends-state", migration_read) \
	/* once a write of device_state has been refused, buffers are one byte short */ \
	DEFECT(refused_state_changes_size, "refused-state-changes-size", peek) \
	/* a partial read of data_size is refused, but the next buffer overwrites the present one */ \
	DEFECT(refused_size_read_advances, "refused-size-read-advances", migration_read) \
	/* a write of data_size while saving is refused, but the next buffer to be offered is skipped */ \
	DEFECT(refused_size_write_skips, "refused-size-write-skips", consume)	\
	/* a buffer of which a part was written twice is refused */		\
	DEFECT(rewritten_data_refused, "rewritten-data-refused", section_write) \
	ALSO(rewritten_data_refused, consume)					\
	/* in RESUMING a buffer is dropped if data_offset is read again after its data */ \
	DEFECT(offset_again_drops_buffer, "offset-again-drops-buffer", keep) \
	/* once an access has been refused in RESUMING, the data written before it is forgotten */ \
	DEFECT(refused_forgets_given, "refused-forgets-given", migration_read) \
	ALSO(refused_forgets_given, migration_write)				\
										\
	/* A device that FAULT has refuse a transition, or fail while saving or resuming */ \
	/* a requested refusal of a transition answers success; the state is kept */ \
	DEFECT(refusal_silent, "refusal-silent", write_state)			\
	/* a requested refusal of a transition answers an error, but the transition is made */ \
	DEFECT(refusal_moves_state, "refusal-moves-state", write_state)		\
	/* a requested refusal of a transition leads to the error state */	\
	DEFECT(refusal_becomes_error, "refusal-becomes-error", write_state)	\
	/* after a requested refusal, the bits of the error state are set in the state that was kept */ \
	DEFECT(refusal_sets_error_bits, "refusal-sets-error-bits", peek)	\
	/* after a requested refusal, every write of device_state is refused until reset */ \
	DEFECT(refusal_latches, "refusal-latches", write_state)			\
	/* after a requested refusal in a state in which it runs, the device is stopped */ \
	DEFECT(refusal_freezes, "refusal-freezes", write_state)			\
	/* after a requested refusal in a state in which it runs, the device ends its DMA stream */ \
	DEFECT(refusal_ends_dma, "refusal-ends-dma", write_state)		\
	/* after a requested refusal in a state in which it is stopped, the device runs */ \
	DEFECT(refusal_wakes, "refusal-wakes", write_state)			\
	/* a fault while resuming is not reported, and the buffer is lost */	\
	DEFECT(resume_fault_loses_buffer, "resume-fault-loses-buffer", consume)	\
	ALSO(resume_fault_loses_buffer, keep)					\
	/* a fault after the first buffer is not reported, and the buffer is lost */ \
	DEFECT(resume_fault_loses_later_buffer, "resume-fault-loses-later-buffer", consume) \
	ALSO(resume_fault_loses_later_buffer, keep)				\
	/* a fault while resuming is not reported, and the device runs as it did before */ \
	DEFECT(resume_fault_keeps_old, "resume-fault-keeps-old", consume)	\
	ALSO(resume_fault_keeps_old, finish_resuming)				\
	/* at a fault while resuming, the write of data_size answers 0 bytes instead of an error */ \
	DEFECT(resume_fault_short, "resume-fault-short", store)			\
	/* once the device has failed while resuming, no data is accepted, even after a reset */ \
	DEFECT(resume_fault_outlives_reset, "resume-fault-outlives-reset", consume) \
	/* once the device has failed while resuming, every reset fails */	\
	DEFECT(resume_fault_wedges, "resume-fault-wedges", reset)		\
	/* once the device has failed while saving, every reset fails */	\
	DEFECT(save_fault_wedges, "save-fault-wedges", reset)			\
										\
	/* What a kernel says of its driver, and ways to lose a caller, or all. They break no rule. */ \
	/* the 20th write of device_state warns; later ones do not */		\
	DEFECT(warn_once, "warn-once", write_region)				\
	/* the 80th write of device_state reads a null pointer; later ones do not */ \
	DEFECT(oops_once, "oops-once", write_region)				\
	/* the 100th write of device_state sleeps, deaf to signals; later ones do not */ \
	DEFECT(hang_once, "hang-once", write_region)				\
	/* the 40th write of device_state keeps its CPU for 30 s; later ones do not */ \
	DEFECT(lockup_once, "lockup-once", write_region)			\
	/* the 60th write of device_state reads memory that it has given back; later ones do not */ \
	DEFECT(stray_once, "stray-once", write_region)				\
	/* the 20th write of device_state ends the kernel */			\
	DEFECT(panic_once, "panic-once", write_region)

/*
 * What refd_past is made from. The first are asked before any defect, the last
 * ones behind all of them; they are functions past_STEP().
 */
#define REFD_WITNESSES_BEFORE(WITNESS)						\
	WITNESS(should_work)							\
	WITNESS(touch)								\
	WITNESS(peek)								\
	WITNESS(check)								\
	WITNESS(reset)								\
	WITNESS(lay)

#define REFD_WITNESSES_BEHIND(WITNESS)						\
	WITNESS(store)								\
	WITNESS(write_state)							\
	WITNESS(enter)								\
	WITNESS(opened)								\
	WITNESS(hand_over)							\
	WITNESS(room)								\
	WITNESS(section_read)							\
	WITNESS(begin_saving)							\
	WITNESS(offer)								\
	WITNESS(make_buffer)							\
	WITNESS(advance)							\
	WITNESS(consume)							\
	WITNESS(apply)

/* Each function has the type of its step, and so has the pointer to what is under it. */
#define REFD_STEP(step) typeof(*((struct refd_ops *)NULL)->step)
#define REFD_DECLARE(function, step)						\
	REFD_STEP(step) function;						\
	extern REFD_STEP(step) *under_##function;
#define REFD_DECLARE_DEFECT(symbol, name, step) REFD_DECLARE(defect_##symbol, step)
#define REFD_DECLARE_ALSO(symbol, step) REFD_DECLARE(defect_##symbol##_##step, step)
#define REFD_DECLARE_WITNESS(step) REFD_DECLARE(past_##step, step)

REFD_WITNESSES_BEFORE(REFD_DECLARE_WITNESS)
REFD_DEFECTS(REFD_DECLARE_DEFECT, REFD_DECLARE_ALSO)
REFD_WITNESSES_BEHIND(REFD_DECLARE_WITNESS)

/* Others may be chosen at any time: a call goes through the old ones or the new ones. */
#define under(symbol) READ_ONCE(under_defect_##symbol)
#define under_past(step) READ_ONCE(under_past_##step)

#endif
