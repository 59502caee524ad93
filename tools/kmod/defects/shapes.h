/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Shapes that several defects share: each use makes one defect's function.
 */
#ifndef VFIO_REFDRIVER_SHAPES_H
#define VFIO_REFDRIVER_SHAPES_H

#include "defects.h"

/* Under a condition a register reads something else. Both may use refd. */
#define READS(symbol, which, condition, shown)					\
u64 defect_##symbol(struct refd_device *refd, enum refd_field field)		\
{										\
	return field == (which) && (condition) ? (shown) :			\
						 under(symbol)(refd, field);	\
}

/*
 * From a set of states to a set of others a transition is refused with an error
 * under a condition, unless it is refused already.
 */
#define REFUSES(symbol, error, origins, ends, condition)			\
int defect_##symbol(struct refd_device *refd, u32 from, u32 to)			\
{										\
	int ret = under(symbol)(refd, from, to);				\
										\
	if (!ret && from != to && BIT(from) & (origins) &&			\
	    BIT(to) & (ends) && (condition))					\
		ret = error;							\
	return ret;								\
}

/* Under a condition an invalid value is accepted as a state. */
#define TAKES(symbol, invalid, condition)					\
bool defect_##symbol(struct refd_device *refd, u32 value)			\
{										\
	return (value == (invalid) && (condition)) ||				\
	       under(symbol)(refd, value);					\
}

/* Under a condition a read of a register is refused with an error. */
#define REFUSES_READ(symbol, error, which, condition)				\
int defect_##symbol(struct refd_device *refd, enum refd_field field)		\
{										\
	return field == (which) && (condition) ? error :			\
						 under(symbol)(refd, field);	\
}

/* Under a condition the device runs, or does not, regardless of its state. */
#define WORKS(symbol, condition, works)						\
bool defect_##symbol(struct refd_device *refd)					\
{										\
	return (condition) ? (works) : under(symbol)(refd);			\
}

/* Under a condition the state that was just entered offers nothing. */
#define OFFERS_NOTHING(symbol, condition)					\
void defect_##symbol(struct refd_device *refd)					\
{										\
	under(symbol)(refd);							\
	if (condition)								\
		refd->transfer.end = refd->transfer.start;			\
}

/* Under a condition a reset is refused with an error, or ends in a given state. */
#define REFUSES_RESET(symbol, error, condition)					\
int defect_##symbol(struct refd_device *refd)					\
{										\
	return (condition) ? error : under(symbol)(refd);			\
}

#define RESTARTS_IN(symbol, state, condition)					\
void defect_##symbol(struct refd_device *refd)					\
{										\
	if (condition)								\
		refd->ops->enter(refd, state);					\
	else									\
		under(symbol)(refd);						\
}

#endif
