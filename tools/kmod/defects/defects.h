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
	/* the type capability says subtype 0 */				\
	DEFECT(region_subtype_zero, "region-subtype-zero", announce)		\
	/* the region has no type capability */					\
	DEFECT(region_type_missing, "region-type-missing", announce)		\
	/* a reset takes the type capability away until the next open */	\
	DEFECT(region_type_lost_by_reset, "region-type-lost-by-reset", announce) \
	/* an empty region behind all others announces itself as a migration region, too */ \
	DEFECT(region_announced_twice, "region-announced-twice", describe)	\
	ALSO(region_announced_twice, region_count)				\
	/* all registers lie 8 bytes further */					\
	DEFECT(header_shifted, "header-shifted", find)				\
	/* the first read of device_state answers EAGAIN in a device just opened */ \
	DEFECT(header_late, "header-late", touch)				\
	/* pending_bytes and reserved have changed places */			\
	DEFECT(pending_misplaced, "pending-misplaced", find)			\
	/* in pre-copy a read of data_size gives four bytes only */		\
	DEFECT(size_read_short, "size-read-short", migration_read)		\
	/* a read of anything but one whole register gives 0 bytes instead of an error */ \
	DEFECT(width_read_empty, "width-read-empty", migration_read)		\
	/* a read that begins at a register and is longer gives that register alone */ \
	DEFECT(width_read_short, "width-read-short", migration_read)		\
	/* one byte of a register may be read */				\
	DEFECT(width_byte_read_accepted, "width-byte-read-accepted", migration_read) \
	/* several registers may be read at once */				\
	DEFECT(width_straddling_read_accepted, "width-straddling-read-accepted", migration_read) \
	/* all registers from pending_bytes on, or two of them, may be read at once */ \
	DEFECT(width_several_registers_read, "width-several-registers-read", migration_read) \
	/* eight bytes may be read at the last four of the header */		\
	DEFECT(width_read_past_header, "width-read-past-header", migration_read) \
	/* two bytes written to device_state are taken */			\
	DEFECT(width_halfword_write_applied, "width-halfword-write-applied", migration_write) \
	/* one byte written to device_state: an error, yet it takes effect */	\
	DEFECT(width_refused_but_applied, "width-refused-but-applied", migration_write) \
	/* of an 8-byte write at device_state the first four bytes are taken, and reported */ \
	DEFECT(width_wide_write_applied, "width-wide-write-applied", migration_write) \
	/* a write of anything but one whole register is ignored, and reported as done */ \
	DEFECT(width_write_ignored, "width-write-ignored", migration_write)	\
	/* eight bytes written at the last four of the header are ignored, and reported as done */ \
	DEFECT(width_write_past_header, "width-write-past-header", migration_write) \
										\
	/* device_state as it reads */						\
	/* reads give the state before the last change */			\
	DEFECT(state_read_stale, "state-read-stale", peek)			\
	/* after pre-copy -> stop-and-copy device_state reads pre-copy once more */ \
	DEFECT(state_read_stale_once, "state-read-stale-once", peek)		\
	/* 010b reads back as 000b */						\
	DEFECT(stop_and_copy_reads_stop, "stop-and-copy-reads-stop", peek)	\
	/* 011b reads back as 001b */						\
	DEFECT(pre_copy_reads_running, "pre-copy-reads-running", peek)		\
	/* 111b is read after a refused write */				\
	DEFECT(state_failure_reports_7, "state-failure-reports-7", peek)	\
	/* the error state reads 111b */					\
	DEFECT(state_fault_reports_7, "state-fault-reports-7", peek)		\
										\
	/* What a write of device_state answers */				\
	/* a refused write answers 2 bytes */					\
	DEFECT(state_failure_short, "state-failure-short", write_state)		\
	/* a refused write answers success */					\
	DEFECT(state_failure_silent, "state-failure-silent", write_state)	\
	/* of two refused writes of device_state in a row the second answers success */ \
	DEFECT(state_failure_silent_again, "state-failure-silent-again", write_state) \
	/* a fault that leads to the error state is answered with success */	\
	DEFECT(state_fault_silent, "state-fault-silent", write_state)		\
	/* a refused write of device_state in pre-copy leads back to RUNNING */	\
	DEFECT(state_failure_ends_pre_copy, "state-failure-ends-pre-copy", write_state) \
	/* a refused write stores the new bits */				\
	DEFECT(state_failure_stores, "state-failure-stores", write_state)	\
	/* after one refused write all are refused, until reset */		\
	DEFECT(state_latched_after_failure, "state-latched-after-failure", write_state) \
	/* after two refused writes every later one is refused too, until reset */ \
	DEFECT(state_latched_after_second_failure, "state-latched-after-second-failure", write_state)\
	/* after a refused write in pre-copy every later one is refused too, until reset */ \
	DEFECT(state_latched_in_pre_copy, "state-latched-in-pre-copy", write_state) \
	/* a successful write of device_state reports as many bytes as the state's number */ \
	DEFECT(state_write_returns_state, "state-write-returns-state", write_state) \
	/* a write that succeeds returns 0 bytes */				\
	DEFECT(state_write_short, "state-write-short", write_state)		\
	/* a successful write of device_state in pre-copy reports 0 bytes written */ \
	DEFECT(state_write_short_from_pre_copy, "state-write-short-from-pre-copy", write_state) \
										\
	/* What it asks for */							\
	/* with any of bits 3-31 all is stored, and bits 0-2 shifted */		\
	DEFECT(reserved_bits_confuse, "reserved-bits-confuse", change_state)	\
	ALSO(reserved_bits_confuse, peek)					\
	/* a write with one of bits 3-31 set succeeds and does nothing */	\
	DEFECT(reserved_bits_swallowed, "reserved-bits-swallowed", change_state) \
	/* a write with bit 31 set is taken for STOP */				\
	DEFECT(reserved_bit_31_stops, "reserved-bit-31-stops", change_state)	\
	/* 111b is taken for pre-copy */					\
	DEFECT(state_invalid_7_as_pre_copy, "state-invalid-7-as-pre-copy", change_state) \
	/* writes in the error state succeed and do nothing */			\
	DEFECT(error_write_ignored, "error-write-ignored", change_state)	\
	/* 101b can be written */						\
	DEFECT(state_invalid_5_accepted, "state-invalid-5-accepted", is_state)	\
	/* in RESUMING 101b is accepted and read back */			\
	DEFECT(state_invalid_5_in_resuming, "state-invalid-5-in-resuming", is_state) \
	/* 111b can be written */						\
	DEFECT(state_invalid_7_accepted, "state-invalid-7-accepted", is_state)	\
	/* 110b can be written */						\
	DEFECT(state_error_accepted, "state-error-accepted", is_state)		\
	/* in RESUMING a user's write of 110b succeeds and is read back */	\
	DEFECT(state_error_accepted_in_resuming, "state-error-accepted-in-resuming", is_state) \
	/* writing RUNNING leaves the error state */				\
	DEFECT(error_left_by_write, "error-left-by-write", check)		\
	/* the second write in the error state leads out of it */		\
	DEFECT(error_left_by_second_write, "error-left-by-second-write", check)	\
										\
	/* Transitions that are refused */					\
	/* 001 -> 000 refused */						\
	DEFECT(stop_refused, "stop-refused", check)				\
	/* RUNNING -> STOP refused while the DMA stream is on */		\
	DEFECT(stop_refused_while_busy, "stop-refused-while-busy", check)	\
	/* 010 -> 000 refused */						\
	DEFECT(stop_and_copy_to_stop_refused, "stop-and-copy-to-stop-refused", check) \
	/* stop-and-copy -> STOP is refused to those who came through pre-copy */ \
	DEFECT(stop_refused_after_pre_copy, "stop-refused-after-pre-copy", check) \
	/* 001 -> 011 refused */						\
	DEFECT(pre_copy_refused, "pre-copy-refused", check)			\
	/* RUNNING -> pre-copy refused once the device was resumed, until reset */ \
	DEFECT(pre_copy_refused_after_resume, "pre-copy-refused-after-resume", check) \
	/* 011 -> 010 refused */						\
	DEFECT(pre_copy_to_stop_and_copy_refused, "pre-copy-to-stop-and-copy-refused", check) \
	/* 001 -> 100 refused */						\
	DEFECT(resuming_refused, "resuming-refused", check)			\
	/* RESUMING -> RUNNING refused with a whole state */			\
	DEFECT(resumed_refused, "resumed-refused", check)			\
	/* RUNNING -> RESUMING refused to those who saved before, reset or not */ \
	DEFECT(resuming_refused_after_saving, "resuming-refused-after-saving", check) \
	/* pre-copy -> RUNNING is refused */					\
	DEFECT(cancel_refused, "cancel-refused", check)				\
	/* leaving 011 while pending_bytes > 0 refused */			\
	DEFECT(pre_copy_must_drain, "pre-copy-must-drain", check)		\
	/* leaving 010 while pending_bytes > 0 refused */			\
	DEFECT(stop_and_copy_must_drain, "stop-and-copy-must-drain", check)	\
	/* leaving a saving state refused while a buffer is there to be read */	\
	DEFECT(leave_mid_buffer_refused, "leave-mid-buffer-refused", check)	\
	/* after a reset in the error state stop-and-copy is refused until the next reset */ \
	DEFECT(reset_error_refuses_saving, "reset-error-refuses-saving", check)	\
										\
	/* Transitions that go wrong, at last those that end elsewhere */	\
	/* the state refused at the end of RESUMING is read */			\
	DEFECT(half_state_reads_next, "half-state-reads-next", transition)	\
	/* 101b is read after RESUMING was left without data */			\
	DEFECT(early_leave_wedges, "early-leave-wedges", transition)		\
	/* 010 -> 000 clears the memory */					\
	DEFECT(saved_state_dropped, "saved-state-dropped", transition)		\
	/* stands still after resuming, though RUNNING is read */		\
	DEFECT(resumed_stays_stopped, "resumed-stays-stopped", transition)	\
	/* stands still after 010 -> 001 */					\
	DEFECT(cancelled_stays_stopped, "cancelled-stays-stopped", transition)	\
	/* writing the present state ends what is pending */			\
	DEFECT(self_write_ends_data, "self-write-ends-data", transition)	\
	/* writing the present state ends in STOP */				\
	DEFECT(self_write_moves, "self-write-moves", transition)		\
	/* writing RESUMING in RESUMING succeeds and leads to RUNNING */	\
	DEFECT(self_write_resuming_runs, "self-write-resuming-runs", transition) \
	/* stop-and-copy -> STOP ends in RUNNING */				\
	DEFECT(stop_and_copy_to_stop_runs, "stop-and-copy-to-stop-runs", transition) \
	/* a transition that is not drawn ends in a third state */		\
	DEFECT(undrawn_wrong_state, "undrawn-wrong-state", transition)		\
	/* a transition that is not drawn succeeds, and the state stays */	\
	DEFECT(undrawn_ignored, "undrawn-ignored", transition)			\
	/* reading pending_bytes in stop-and-copy ends in STOP */		\
	DEFECT(state_changes_by_itself, "state-changes-by-itself", peek)	\
	ALSO(state_changes_by_itself, write_state)				\
	/* stop-and-copy turns into STOP when pending_bytes reads 0 */		\
	DEFECT(drained_stops, "drained-stops", touch)				\
	/* RESUMING turns into RUNNING when the last buffer of a state was taken */ \
	DEFECT(resuming_runs_by_itself, "resuming-runs-by-itself", consume)	\
	/* 20 ms after running -> STOP the device is in running again */	\
	DEFECT(stop_wears_off, "stop-wears-off", touch)				\
	ALSO(stop_wears_off, transition)					\
										\
	/* Running and stopped */						\
	/* stands still in pre-copy */						\
	DEFECT(pre_copy_stops, "pre-copy-stops", should_work)			\
	/* the device works in RESUMING */					\
	DEFECT(resuming_keeps_running, "resuming-keeps-running", should_work)	\
	/* goes on in stop-and-copy */						\
	DEFECT(stop_and_copy_keeps_running, "stop-and-copy-keeps-running", should_work) \
	/* works while bit 0 is clear, stands still while it is set */		\
	DEFECT(running_bit_inverted, "running-bit-inverted", should_work)	\
	/* in pre-copy the device stands still once a buffer is asked for */	\
	DEFECT(pre_copy_stops_at_data, "pre-copy-stops-at-data", offer)		\
	/* in stop-and-copy the device works again once a buffer is asked for */ \
	DEFECT(stop_and_copy_works_at_data, "stop-and-copy-works-at-data", offer) \
	/* goes on for 20 ms after it was stopped */				\
	DEFECT(stop_late, "stop-late", halt)					\
	/* the device goes on for 20 ms after the write that leaves pre-copy has returned */ \
	DEFECT(pre_copy_exit_late, "pre-copy-exit-late", halt)			\
	/* one write of the DMA stream comes 20 ms after the device was stopped */ \
	DEFECT(stop_one_late_dma, "stop-one-late-dma", halt)			\
	/* what became of the last doorbell is forgotten when the device stops */ \
	DEFECT(work_forgotten_at_stop, "work-forgotten-at-stop", halt)		\
	/* the DMA stream goes on while stopped */				\
	DEFECT(stop_dma_continues, "stop-dma-continues", streams)		\
										\
	/* Reset, open and close */						\
	/* no reset once data was refused */					\
	DEFECT(bad_data_wedges, "bad-data-wedges", reset)			\
	/* after pre-copy -> RESUMING every reset fails until the device is opened again */ \
	DEFECT(undrawn_wedges, "undrawn-wedges", reset)				\
	/* no reset in STOP */							\
	DEFECT(reset_refused_in_stop, "reset-refused-in-stop", reset)		\
	/* reset fails while a buffer is there to be read */			\
	DEFECT(reset_refused_mid_buffer, "reset-refused-mid-buffer", reset)	\
	/* a reset ends in RESUMING after a data_size past the end */		\
	DEFECT(bad_size_outlives_reset, "bad-size-outlives-reset", restart)	\
	ALSO(bad_size_outlives_reset, consume)					\
	/* closed in the error state, it takes two resets to leave it */	\
	DEFECT(error_outlives_close, "error-outlives-close", hand_over)		\
	ALSO(error_outlives_close, restart)					\
	/* the error state is kept over a reset */				\
	DEFECT(reset_keeps_error, "reset-keeps-error", restart)			\
	/* for each user reset leaves the error state the first time only */	\
	DEFECT(reset_recovers_once, "reset-recovers-once", restart)		\
	/* a reset in pre-copy or stop-and-copy ends in pre-copy */		\
	DEFECT(reset_keeps_saving, "reset-keeps-saving", restart)		\
	/* a reset ends in STOP */						\
	DEFECT(reset_to_stop, "reset-to-stop", restart)				\
	/* each open finds STOP */						\
	DEFECT(open_in_stop, "open-in-stop", opened)				\
	/* whoever opens the device finds it RUNNING, and standing still until reset */ \
	DEFECT(open_stands_still, "open-stands-still", opened)			\
	/* the next user finds the last user's state, unless that was STOP */	\
	DEFECT(close_needs_stop, "close-needs-stop", hand_over)			\
	/* a device closed in RESUMING is in RESUMING for the next user */	\
	DEFECT(close_keeps_resuming, "close-keeps-resuming", hand_over)		\
										\
	/* Saving: what is offered */						\
	/* nothing is ever pending */						\
	DEFECT(saving_ignored, "saving-ignored", begin_saving)			\
	/* nothing is pending in pre-copy */					\
	DEFECT(pre_copy_silent, "pre-copy-silent", begin_saving)		\
	/* nothing is pending in stop-and-copy after pre-copy */		\
	DEFECT(pre_copy_says_all, "pre-copy-says-all", begin_saving)		\
	/* nothing is pending in stop-and-copy after STOP */			\
	DEFECT(stop_saves_nothing, "stop-saves-nothing", begin_saving)		\
	/* the last buffer is never offered, nor missed */			\
	DEFECT(save_stream_truncated, "save-stream-truncated", begin_saving)	\
	ALSO(save_stream_truncated, is_whole)					\
	/* zeros past the first page of a buffer */				\
	DEFECT(save_first_page_only, "save-first-page-only", lay)		\
	/* stop-and-copy offers what was there on entering pre-copy */		\
	DEFECT(pre_copy_snapshot_only, "pre-copy-snapshot-only", take_image)	\
	/* the same once pending_bytes was read again in pre-copy */		\
	DEFECT(pending_read_forgets_changes, "pending-read-forgets-changes", take_image) \
	/* of the registers alone it offers what was there on entering pre-copy */ \
	DEFECT(pre_copy_registers_stale, "pre-copy-registers-stale", take_image) \
	/* changes of memory's second half after pre-copy offered it are lost */ \
	DEFECT(pre_copy_drops_late_change, "pre-copy-drops-late-change", take_image) \
	/* what became of the last doorbell is no part of the saved state */	\
	DEFECT(work_status_not_saved, "work-status-not-saved", take_image)	\
	/* pending_bytes has to be read twice before a buffer */		\
	DEFECT(two_pending_reads_needed, "two-pending-reads-needed", make_buffer) \
	/* a fault while saving ends the stream */				\
	DEFECT(fault_truncates, "fault-truncates", make_buffer)			\
	ALSO(fault_truncates, touch)						\
	/* a fault while saving makes an empty buffer */			\
	DEFECT(fault_empties_buffer, "fault-empties-buffer", make_buffer)	\
	/* a fault while saving goes unsaid, the buffer is garbage */		\
	DEFECT(fault_bad_data, "fault-bad-data", make_buffer)			\
	/* the same in pre-copy alone */					\
	DEFECT(fault_in_pre_copy_silent, "fault-in-pre-copy-silent", make_buffer) \
	/* the first buffer is an empty one */					\
	DEFECT(size_zero_while_pending, "size-zero-while-pending", offer)	\
	/* the same in pre-copy alone */					\
	DEFECT(size_zero_in_pre_copy, "size-zero-in-pre-copy", offer)		\
	/* an empty buffer before the last one */				\
	DEFECT(size_zero_before_last, "size-zero-before-last", offer)		\
	/* the first buffer again in place of the second */			\
	DEFECT(buffer_resent, "buffer-resent", lay)				\
	/* the same buffer for ever */						\
	DEFECT(buffer_never_advances, "buffer-never-advances", advance)		\
										\
	/* Saving: its registers */						\
	/* reading pending_bytes again drops a buffer */			\
	DEFECT(pending_read_advances, "pending-read-advances", touch)		\
	/* reading pending_bytes again spoils the next buffer */		\
	DEFECT(pending_read_changes_buffer, "pending-read-changes-buffer", touch) \
	/* pending_bytes read more than twenty times before a buffer is 0 from then on */ \
	DEFECT(pending_read_often_ends, "pending-read-often-ends", touch)	\
	/* pending_bytes is 1 from its third read after the last buffer on */	\
	DEFECT(pending_returns_later, "pending-returns-later", peek)		\
	/* pending_bytes is 0 while the last buffer is to come */		\
	DEFECT(pending_zero_early, "pending-zero-early", peek)			\
	/* pending_bytes is 0 once before the last buffer */			\
	DEFECT(pending_returns, "pending-returns", peek)			\
	/* the first read of data_offset in stop-and-copy is refused */		\
	DEFECT(offset_refused_while_pending, "offset-refused-while-pending", touch) \
	/* the same in pre-copy */						\
	DEFECT(offset_refused_in_pre_copy, "offset-refused-in-pre-copy", touch)	\
	/* the same for the last buffer */					\
	DEFECT(offset_refused_at_last, "offset-refused-at-last", touch)		\
	/* reading data_offset again goes on to the next buffer */		\
	DEFECT(offset_read_advances, "offset-read-advances", touch)		\
	/* the same in pre-copy alone */					\
	DEFECT(offset_read_advances_in_pre_copy, "offset-read-advances-in-pre-copy", touch) \
	/* the last byte comes 20 ms after data_offset was read */		\
	DEFECT(offset_returns_early, "offset-returns-early", touch)		\
	ALSO(offset_returns_early, work)					\
	/* the same from the second buffer on */				\
	DEFECT(offset_returns_early_later, "offset-returns-early-later", touch)	\
	ALSO(offset_returns_early_later, work)					\
	/* the data appears only when data_size is read */			\
	DEFECT(data_lazy_on_size, "data-lazy-on-size", touch)			\
	/* the same from the second buffer on */				\
	DEFECT(data_lazy_later, "data-lazy-later", touch)			\
	/* the same past the first page of a buffer */				\
	DEFECT(data_lazy_past_page, "data-lazy-past-page", touch)		\
	/* data_size cannot be read while saving */				\
	DEFECT(data_size_read_refused, "data-size-read-refused", touch)		\
	/* the same for the last buffer */					\
	DEFECT(size_refused_at_last, "size-refused-at-last", touch)		\
	/* data_size reads 0 the second time */					\
	DEFECT(size_read_once, "size-read-once", touch)				\
	/* data_size is one too small */					\
	DEFECT(size_off_by_one, "size-off-by-one", peek)			\
										\
	/* Resuming */								\
	/* data_size cannot be written in RESUMING */				\
	DEFECT(resuming_data_refused, "resuming-data-refused", consume)		\
	/* a data_size that is no multiple of 8 is refused */			\
	DEFECT(resume_odd_size_refused, "resume-odd-size-refused", consume)	\
	/* data is refused from the second RESUMING since reset on */		\
	DEFECT(resume_again_refused, "resume-again-refused", consume)		\
	/* writing data_size returns 4 bytes */					\
	DEFECT(resume_size_short, "resume-size-short", store)			\
	/* registers come back without bits 32 and up */			\
	DEFECT(resume_high_half_lost, "resume-high-half-lost", adopt)		\
	/* only the last buffer written counts */				\
	DEFECT(resume_last_buffer_only, "resume-last-buffer-only", keep)	\
	/* the second buffer is thrown away */					\
	DEFECT(resume_drops_a_buffer, "resume-drops-a-buffer", keep)		\
	/* data_offset can be read once in RESUMING */				\
	DEFECT(second_offset_refused, "second-offset-refused", touch)		\
	/* data_offset cannot be read before pending_bytes was */		\
	DEFECT(resume_offset_wants_pending, "resume-offset-wants-pending", touch) \
	/* a buffer is consumed when the next one is given */			\
	DEFECT(data_consumed_late, "data-consumed-late", apply)			\
	ALSO(data_consumed_late, finish_resuming)				\
	/* bad data is taken and thrown away, half a state will do */		\
	DEFECT(bad_data_swallowed, "bad-data-swallowed", apply)			\
	ALSO(bad_data_swallowed, is_whole)					\
	/* data is taken and thrown away */					\
	DEFECT(resuming_data_ignored, "resuming-data-ignored", apply)		\
	/* the same from the second RESUMING since reset on */			\
	DEFECT(resume_again_ignored, "resume-again-ignored", apply)		\
	/* zeros past the first page of a buffer */				\
	DEFECT(resume_first_page_only, "resume-first-page-only", apply)		\
										\
	/* The other registers */						\
	/* reserved cannot be read */						\
	DEFECT(reserved_read_refused, "reserved-read-refused", touch)		\
	/* reserved reads 0xdeadbeef */						\
	DEFECT(reserved_garbage, "reserved-garbage", peek)			\
	/* reserved reads what the register read before it gave */		\
	DEFECT(reserved_stale, "reserved-stale", peek)				\
	/* reserved keeps and returns the low byte of what was written */	\
	DEFECT(reserved_stored_in_part, "reserved-stored-in-part", peek)	\
	/* reserved keeps what was written */					\
	DEFECT(reserved_stored, "reserved-stored", peek)			\
	/* reserved cannot be written */					\
	DEFECT(reserved_write_refused, "reserved-write-refused", store)		\
	/* writing reserved answers 0 bytes */					\
	DEFECT(reserved_write_empty, "reserved-write-empty", store)		\
	/* a write of 0 to pending_bytes ends the data */			\
	DEFECT(pending_write_zero_ends, "pending-write-zero-ends", store)	\
	/* writing pending_bytes sets it */					\
	DEFECT(pending_writable, "pending-writable", store)			\
	/* in pre-copy a write of pending_bytes sets it */			\
	DEFECT(pending_writable_in_pre_copy, "pending-writable-in-pre-copy", store) \
	/* writing data_offset moves it */					\
	DEFECT(data_offset_writable, "data-offset-writable", store)		\
	/* while saving a write of data_offset moves it */			\
	DEFECT(data_offset_writable_while_saving, "data-offset-writable-while-saving", store) \
	/* a write of 2^32 or more to data_offset moves it */			\
	DEFECT(data_offset_high_half_writable, "data-offset-high-half-writable", store) \
	/* data_offset reads 0 */						\
	DEFECT(data_offset_zero, "data-offset-zero", peek)			\
	/* in RESUMING data_offset lies in the registers, at 24 */		\
	DEFECT(data_offset_in_header, "data-offset-in-header", peek)		\
	/* data_offset counts from the start of the device's file */		\
	DEFECT(data_offset_file_position, "data-offset-file-position", peek)	\
	/* data_offset moves on by a buffer each time */			\
	DEFECT(resume_offset_marches, "resume-offset-marches", peek)		\
	/* the last buffer is said to lie past the end */			\
	DEFECT(offset_outside_section, "offset-outside-section", peek)		\
	/* the second buffer is said to lie at 16 */				\
	DEFECT(offset_in_registers, "offset-in-registers", peek)		\
	/* from the second buffer on data_offset reads 8 more when read again */ \
	DEFECT(offset_rereads_drift, "offset-rereads-drift", peek)		\
	/* the buffer's number is in bits 32 and up of data_offset */		\
	DEFECT(offset_high_half, "offset-high-half", peek)			\
										\
	/* The data section */							\
	/* the data lies 8 bytes past a page start */				\
	DEFECT(data_offset_unaligned, "data-offset-unaligned", lay_out)		\
	/* the second buffer and those after it lie 8 bytes past a page start */ \
	DEFECT(data_offset_unaligned_later, "data-offset-unaligned-later", lay_out) \
	ALSO(data_offset_unaligned_later, place)				\
	/* the mappable area starts at 0 */					\
	DEFECT(area_covers_registers, "area-covers-registers", mappable)	\
	/* the mappable area ends a page past the region */			\
	DEFECT(area_outside_region, "area-outside-region", mappable)		\
	/* a second mappable area is the page of the registers */		\
	DEFECT(area_second_covers_registers, "area-second-covers-registers", list_areas) \
	/* a second mappable area has 0 bytes */				\
	DEFECT(area_empty, "area-empty", list_areas)				\
	/* a second mappable area begins below 2^64 and ends past it */		\
	DEFECT(area_wraps, "area-wraps", list_areas)				\
	/* what is mappable cannot be read otherwise */				\
	DEFECT(data_read_refused, "data-read-refused", section_read)		\
	/* a buffer has to be read at once */					\
	DEFECT(data_read_whole_only, "data-read-whole-only", section_read)	\
	/* reads of less than 4 bytes are refused */				\
	DEFECT(data_read_narrow_refused, "data-read-narrow-refused", section_read) \
	/* past the first page of a buffer nothing can be read */		\
	DEFECT(data_read_refused_past_page, "data-read-refused-past-page", section_read) \
	/* reads of less than 4 bytes begin at a multiple of 4 */		\
	DEFECT(data_read_narrow_misplaced, "data-read-narrow-misplaced", section_read) \
	/* bytes of a buffer read 0 the second time */				\
	DEFECT(data_read_once, "data-read-once", section_read)			\
	/* reads past the section's middle are a byte off */			\
	DEFECT(partition_torn, "partition-torn", section_read)			\
	/* what is mappable cannot be written otherwise */			\
	DEFECT(data_write_refused, "data-write-refused", section_write)		\
	/* a buffer has to be written at once */				\
	DEFECT(data_write_whole_only, "data-write-whole-only", section_write)	\
	ALSO(data_write_whole_only, consume)					\
	/* writes of less than 4 bytes are refused */				\
	DEFECT(data_write_narrow_refused, "data-write-narrow-refused", section_write) \
	/* writes of less than 4 bytes go to a multiple of 4 */			\
	DEFECT(data_write_narrow_misplaced, "data-write-narrow-misplaced", section_write) \
	/* what is written to mapped memory is not seen */			\
	DEFECT(mapped_writes_unseen, "mapped-writes-unseen", section_write)	\
	ALSO(mapped_writes_unseen, taken)					\
	/* mapped memory shows the buffer before */				\
	DEFECT(mapped_view_stale, "mapped-view-stale", room)			\
	/* mapped memory shows the first page of a buffer alone */		\
	DEFECT(mapped_view_first_page, "mapped-view-first-page", room)		\
	ALSO(mapped_view_first_page, offer)					\
										\
	/* Sessions of migration that end early, and those after them */ \
	/* what pre-copy had left to offer is not sent in stop-and-copy either */ \
	DEFECT(left_unread_lost, "left-unread-lost", take_image)		\
	/* a buffer that pre-copy has offered counts as sent, read or not */ \
	DEFECT(left_offered_lost, "left-offered-lost", take_image)		\
	/* a change of what pre-copy is just offering is not sent */		\
	DEFECT(left_change_lost, "left-change-lost", take_image)		\
	/* stop-and-copy that is left with bytes pending offers buffers of no bytes the next time */ \
	DEFECT(left_poisons_next, "left-poisons-next", peek)			\
	/* after pre-copy was cancelled the next migration sends what it had to offer */ \
	DEFECT(left_cancelled_kept, "left-cancelled-kept", take_image)		\
	ALSO(left_cancelled_kept, transition)					\
	/* what a cancelled pre-copy had offered counts as sent the next time, unless it changed since */ \
	DEFECT(left_cancelled_counts, "left-cancelled-counts", take_image)	\
	ALSO(left_cancelled_counts, transition)					\
	/* stop-and-copy that was left in a buffer begins behind that buffer the next time */ \
	DEFECT(left_buffer_skipped, "left-buffer-skipped", transition)		\
	/* stop-and-copy in whose second buffer the device is reset begins behind that the next time */ \
	DEFECT(left_by_reset_skipped, "left-by-reset-skipped", reset)		\
	/* a reset in the second buffer of stop-and-copy leaves the device in stop */ \
	DEFECT(reset_in_second_buffer_stops, "reset-in-second-buffer-stops", restart) \
	/* a device reset in the second buffer of stop-and-copy stands still until its state changes */ \
	DEFECT(reset_in_buffer_freezes, "reset-in-buffer-freezes", restart)	\
	/* after a reset in resuming behind the first buffer, the next buffer given is refused */ \
	DEFECT(resumed_in_part_remembered, "resumed-in-part-remembered", consume) \
	ALSO(resumed_in_part_remembered, reset)					\
	/* once a user has left in resuming behind some buffers, no first buffer is taken any more */ \
	DEFECT(resumed_in_part_outlives_user, "resumed-in-part-outlives-user", consume) \
	ALSO(resumed_in_part_outlives_user, hand_over)				\
	/* a device resumed again without a reset takes the registers of the first state */ \
	DEFECT(resumed_again_first_registers, "resumed-again-first-registers", adopt) \
	/* the second state that is saved since a reset is the first one again */ \
	DEFECT(saved_again_stale, "saved-again-stale", take_image)		\
	/* after a pre-copy that was cancelled and a reset in the second buffer nothing is saved */ \
	DEFECT(cancelled_then_reset_empty, "cancelled-then-reset-empty", begin_saving) \
	ALSO(cancelled_then_reset_empty, reset)					\
	/* a device that was resumed has nothing to save until it is reset */ \
	DEFECT(resumed_saves_nothing, "resumed-saves-nothing", begin_saving) \
	/* a device that was resumed saves what it was before */		\
	DEFECT(resumed_saves_stale, "resumed-saves-stale", adopt)		\
	ALSO(resumed_saves_stale, take_image)					\
	/* a device that was resumed works on in stop until it is reset */	\
	DEFECT(resumed_never_stops, "resumed-never-stops", should_work)		\
										\
	/* A step that is repeated or refused in the middle, and what comes after it */ \
	/* once a buffer was read twice bytes are pending for ever */		\
	DEFECT(reread_data_endless, "reread-data-endless", peek)		\
	/* behind a buffer in the middle whose data_offset was read again one is left out */ \
	DEFECT(reread_offset_skips, "reread-offset-skips", touch)		\
	/* data_size read more than ten times for a buffer reads one less from then on */ \
	DEFECT(reread_size_shrinks, "reread-size-shrinks", peek)		\
	/* once a read was refused in a saving state nothing more is offered */ \
	DEFECT(refused_read_ends_state, "refused-read-ends-state", migration_read) \
	/* once a write of device_state was refused the buffers are one byte short */ \
	DEFECT(refused_state_changes_size, "refused-state-changes-size", peek) \
	/* a read of a part of data_size is refused, and the next buffer put over the present one */ \
	DEFECT(refused_size_read_advances, "refused-size-read-advances", migration_read) \
	/* a write of data_size while saving is refused, and the buffer to be offered next left out */ \
	DEFECT(refused_size_write_skips, "refused-size-write-skips", consume)	\
	/* a buffer of which a part was written twice is refused */		\
	DEFECT(rewritten_data_refused, "rewritten-data-refused", section_write) \
	ALSO(rewritten_data_refused, consume)					\
	/* in resuming a buffer behind whose data data_offset was read again is dropped */ \
	DEFECT(offset_again_drops_buffer, "offset-again-drops-buffer", keep) \
	/* once an access was refused in resuming, what was given before it is forgotten */ \
	DEFECT(refused_forgets_given, "refused-forgets-given", migration_read) \
	ALSO(refused_forgets_given, migration_write)				\
										\
	/* A device that is told to refuse, or to fail while its state moves */	\
	/* a transition that the device was told to refuse is answered with success; the state is kept */ \
	DEFECT(refusal_silent, "refusal-silent", write_state)			\
	/* a transition that the device was told to refuse is refused, and made all the same */ \
	DEFECT(refusal_moves_state, "refusal-moves-state", write_state)		\
	/* a transition that the device was told to refuse leads to the error state */ \
	DEFECT(refusal_becomes_error, "refusal-becomes-error", write_state)	\
	/* after a told refusal the bits of the error state are set in the one that was kept */ \
	DEFECT(refusal_sets_error_bits, "refusal-sets-error-bits", peek)	\
	/* after a told refusal every write of device_state is refused, until reset */ \
	DEFECT(refusal_latches, "refusal-latches", write_state)			\
	/* a device that was told not to leave a state in which it works stands still there */ \
	DEFECT(refusal_freezes, "refusal-freezes", write_state)			\
	/* a device that was told not to leave a state in which it works ends its DMA stream */ \
	DEFECT(refusal_ends_dma, "refusal-ends-dma", write_state)		\
	/* a device that was told not to leave a state in which it stands still works there */ \
	DEFECT(refusal_wakes, "refusal-wakes", write_state)			\
	/* a fault while resuming is not reported, and the buffer is lost */	\
	DEFECT(resume_fault_loses_buffer, "resume-fault-loses-buffer", consume)	\
	ALSO(resume_fault_loses_buffer, keep)					\
	/* a fault behind the first buffer is not reported, and the buffer is lost */ \
	DEFECT(resume_fault_loses_later_buffer, "resume-fault-loses-later-buffer", consume) \
	ALSO(resume_fault_loses_later_buffer, keep)				\
	/* a fault while resuming is not reported, and the device runs as it did before */ \
	DEFECT(resume_fault_keeps_old, "resume-fault-keeps-old", consume)	\
	ALSO(resume_fault_keeps_old, finish_resuming)				\
	/* at a fault while resuming the write of data_size answers 0 bytes instead of an error */ \
	DEFECT(resume_fault_short, "resume-fault-short", store)			\
	/* once the device has failed while it was resumed no data is taken, reset or not */ \
	DEFECT(resume_fault_outlives_reset, "resume-fault-outlives-reset", consume) \
	/* once the device has failed while it was resumed every reset fails */	\
	DEFECT(resume_fault_wedges, "resume-fault-wedges", reset)		\
	/* once the device has failed while it was saved every reset fails */	\
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
