// SPDX-License-Identifier: GPL-2.0-only
/*
 * The steps of the driver as it is.
 */
#include "vfio_refdriver.h"

#define OP(name) .name = refd_##name

const struct refd_ops refd_plain_ops = {
	OP(region_count),
	OP(announce),
	OP(describe),
	OP(list_areas),
	OP(write_region),

	OP(should_work),
	OP(halt),
	OP(streams),

	OP(find),
	OP(migration_read),
	OP(migration_write),
	OP(touch),
	OP(peek),
	OP(store),

	OP(write_state),
	OP(change_state),
	OP(is_state),
	OP(check),
	OP(transition),
	OP(enter),
	OP(reset),
	OP(restart),
	OP(opened),
	OP(hand_over),

	OP(mappable),
	OP(lay_out),
	OP(place),
	OP(room),
	OP(taken),
	OP(section_read),
	OP(section_write),

	OP(take_image),
	OP(begin_saving),
	OP(make_buffer),
	OP(work),
	OP(offer),
	OP(lay),
	OP(advance),

	OP(consume),
	OP(apply),
	OP(keep),
	OP(is_whole),
	OP(finish_resuming),
	OP(adopt),
};
