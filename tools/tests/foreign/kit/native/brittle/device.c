// SPDX-License-Identifier: GPL-2.0-only
/*
 * A graphics processor with 128 KiB of memory. Its firmware asserts that the reserved bits of device_state are never
 * written, and dies if they are. An incomplete state leads to the error state.
 *
 * region 0, registers                                 region 1: the memory, any width, read only
 *   0x00  8  microseconds of running                  region 3: migration
 *   0x08  2  command: 1 copy out, 2 copy out every 5 ms, 3 end that, 4 pin, 5 unpin, 6 start a job of 20 ms
 *   0x0a  2  status of the job: bit 0 ended, bit 1 its target was not mapped
 *   0x0c  2  1: the next change of device_state hangs it (error state)
 *   0x0e  2  1: saving meets a memory error, after the first buffer
 *   0x10  8  target of copies and jobs
 *   0x18  4  bytes of a copy, up to 65536; a job writes 8
 *   0x20  8  seed: draws into the memory
 *
 * Data path: a trapped window of 16 KiB right after the registers. The memory is run-length encoded, so buffers hold
 * different amounts of it; pre-copy makes one pass over it, stop-and-copy another one, and the registers come last.
 * Dirty pages: for each page, the serial numbers of its last write and of the write last reported, and a count of pins.
 */
#include "wire.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WORDS 32768u
#define WINDOW 0x4000u
#define BASE 0x20u
#define MOST_COPY 65536u
#define JOB 20000u /* us */
#define MAGIC 0x52454e44u

struct front {
	uint64_t clock, target, seed, job_end;
	uint32_t length;
	uint16_t streaming, status;
};

struct head {
	uint32_t magic, start, runs, front;
};

struct run {
	uint32_t value, count;
};

struct page_note {
	uint32_t written, reported;
	uint16_t pins;
};

static struct front front, new_front;
static uint32_t vram[WORDS], new_vram[WORDS];
static uint8_t window[WINDOW];
static uint32_t state = 1;
static uint64_t since, next_copy;
static bool hang, bad_cell, met_bad_cell;

static uint32_t place;      /* words saved in this pass, or given */
static uint32_t next_place; /* after the buffer in the window */
static bool front_moved, filled, any_given;
static uint64_t filled_size;

static bool tracking;
static uint32_t serial;

static bool running(void) { return state <= 4 && (state & 1); }
static uint64_t clock_us(void) { return front.clock + (running() ? (wire_now() - since) / 1000 : 0); }

/* ---- the processor ---- */

static struct page_note *note_of(uint64_t iova)
{
	struct wire_map *m = wire_find(iova);
	return m ? (struct page_note *)m->note + (iova - m->iova) / wire_page() : NULL;
}

/* pins: 0 the range was written, 1 pin it, -1 unpin it */
static void touch(uint64_t iova, uint64_t size, int pins)
{
	uint64_t page = wire_page();
	serial++;
	for (uint64_t at = iova / page * page; at < iova + size; at += page) {
		struct page_note *n = note_of(at);
		if (!n)
			continue;
		n->written = serial;
		if (pins > 0 || (pins < 0 && n->pins))
			n->pins = (uint16_t)(n->pins + pins);
	}
}

static int copy_out(uint32_t length)
{
	static uint64_t words[MOST_COPY / 8];
	if (!length || !wire_covered(front.target, length, WIRE_MAP_WRITE))
		return EFAULT;
	uint64_t base = clock_us() * 3 + 1;
	for (uint32_t i = 0; i < (length + 7) / 8; i++)
		words[i] = base + i;
	touch(front.target, length, 0);
	return wire_dma_write(front.target, words, length);
}

static void work(void) /* do what is due */
{
	if (running() && front.job_end && clock_us() >= front.job_end) {
		front.job_end = 0;
		front.status = copy_out(8) ? 3 : 1;
	}
	if (running() && front.streaming && wire_now() >= next_copy) {
		next_copy = wire_now() + 5000000;
		copy_out(front.length);
	}
}

static int patience(void)
{
	if (!running() || (!front.streaming && !front.job_end))
		return -1;
	if (front.streaming)
		return wire_now() >= next_copy ? 0 : 3;
	return clock_us() >= front.job_end ? 0 : 5;
}

static void draw(uint64_t seed)
{
	uint64_t noise = seed | 1;
	front.seed = seed;
	for (uint32_t i = 0; i < WORDS * 3 / 4; i++)
		vram[i] = (uint32_t)(seed >> (i / 331 % 29)) + i / 331;
	for (uint32_t i = WORDS * 3 / 4; i < WORDS; i++) {
		noise ^= noise << 13;
		noise ^= noise >> 7;
		noise ^= noise << 17;
		vram[i] = (uint32_t)noise;
	}
}

static int command(uint16_t what)
{
	switch (what) {
	case 1: return running() ? copy_out(front.length) : EAGAIN;
	case 2:
		next_copy = 0;
		front.streaming = 1;
		return 0;
	case 3: front.streaming = 0; return 0;
	case 4:
		if (!wire_covered(front.target, front.length, 0))
			return EFAULT;
		touch(front.target, front.length, 1);
		return 0;
	case 5: touch(front.target, front.length, -1); return 0;
	case 6:
		front.status = 0;
		front.job_end = clock_us() + JOB;
		return 0;
	default: return EINVAL;
	}
}

static int read_front(uint64_t offset, uint8_t *data, uint32_t count)
{
	uint64_t value;
	work();
	if (offset == 0x00 && count == 8)
		value = clock_us();
	else if (offset == 0x0a && count == 2)
		value = front.status;
	else if (offset == 0x10 && count == 8)
		value = front.target;
	else if (offset == 0x18 && count == 4)
		value = front.length;
	else if (offset == 0x20 && count == 8)
		value = front.seed;
	else
		return EINVAL;
	memcpy(data, &value, count);
	return 0;
}

static int write_front(uint64_t offset, const uint8_t *data, uint32_t count)
{
	uint64_t value = 0;
	memcpy(&value, data, count <= 8 ? count : 8);
	if (offset == 0x08 && count == 2)
		return command((uint16_t)value);
	if (offset == 0x0c && count == 2)
		hang = value & 1;
	else if (offset == 0x0e && count == 2)
		bad_cell = value & 1;
	else if (offset == 0x10 && count == 8)
		front.target = value;
	else if (offset == 0x18 && count == 4 && value <= MOST_COPY)
		front.length = (uint32_t)value;
	else if (offset == 0x20 && count == 8)
		draw(value);
	else
		return EINVAL;
	return 0;
}

/* ---- migration ---- */

static bool more(void) { return (state == 3 && place < WORDS) || (state == 2 && !front_moved); }

static int fill(void)
{
	struct head h = {MAGIC, place, 0, 0};
	uint32_t at = sizeof h, i = place;
	if (filled || !more())
		return 0;
	if (bad_cell && place) {
		met_bad_cell = true;
		return EIO;
	}
	while (i < WORDS && at + sizeof(struct run) <= WINDOW) {
		struct run r = {vram[i], 0};
		while (i < WORDS && vram[i] == r.value)
			r.count++, i++;
		memcpy(window + at, &r, sizeof r);
		at += sizeof r;
		h.runs++;
	}
	if (place == WORDS) {
		h.front = 1;
		memcpy(window + at, &front, sizeof front);
		at += sizeof front;
	}
	memcpy(window, &h, sizeof h);
	next_place = i;
	filled_size = at;
	filled = true;
	return 0;
}

static void emptied(void)
{
	if (!filled)
		return;
	if (place == WORDS)
		front_moved = true;
	place = next_place;
	filled = false;
}

static int consume(uint64_t bytes)
{
	struct head h;
	struct run r;
	memcpy(&h, window, sizeof h);
	if (bytes < sizeof h || bytes > WINDOW || h.magic != MAGIC || h.front > 1 || h.runs > WINDOW / sizeof r)
		return EINVAL;
	if (bytes != sizeof h + h.runs * sizeof r + h.front * sizeof front || (h.start && h.start != place))
		return EINVAL;
	if (h.front && (h.start != WORDS || h.runs))
		return EINVAL;
	uint32_t to = h.start;
	for (uint32_t i = 0; i < h.runs; i++) {
		memcpy(&r, window + sizeof h + i * sizeof r, sizeof r);
		if (r.count > WORDS - to)
			return EINVAL;
		for (uint32_t n = 0; n < r.count; n++)
			new_vram[to++] = r.value;
	}
	if (h.front)
		memcpy(&new_front, window + sizeof h, sizeof front);
	place = to;
	front_moved = h.front;
	any_given = true;
	return 0;
}

static int change(uint32_t to)
{
	/* from, to: the drawn ones, and those that a cancelled migration needs */
	static const uint8_t known[][2] = {
		{1, 0}, {1, 2}, {1, 3}, {3, 2}, {2, 0}, {1, 4}, {4, 1}, {3, 1}, {2, 1}, {0, 1}, {0, 2},
	};
	bool is_known = false;
	assert(to < 8); /* the style */
	if (to == state && (state != 6 || wire_broken("error-again")) && state != 4)
		return 0;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		is_known = is_known || (known[i][0] == state && known[i][1] == to);
	if (!is_known)
		return EINVAL;
	work();
	if (hang || (state == 4 && any_given && !front_moved)) {
		front.clock = clock_us();
		hang = filled = false;
		state = 6;
		return EIO;
	}
	if (running() && !(to & 1))
		front.clock = clock_us();
	if (state == 4 && any_given) {
		memcpy(vram, new_vram, sizeof vram);
		front = new_front;
	}
	if (!running() && to & 1)
		since = wire_now();
	if (met_bad_cell)
		bad_cell = met_bad_cell = false; /* mapped out */
	if (!(state == 3 && to == 2 && wire_broken("one-pass")))
		place = 0;
	filled = front_moved = any_given = false;
	state = to;
	return 0;
}

static int read_migration(uint64_t offset, uint8_t *data, uint32_t count)
{
	uint64_t value = 0;
	if (offset >= BASE) {
		if (offset + count > BASE + WINDOW)
			return EINVAL;
		memcpy(data, window + (offset - BASE), count);
		return 0;
	}
	if (offset == 8 && count == 8) {
		emptied();
		value = more() ? (WORDS - place) * 4 + sizeof(struct head) + sizeof front : 0;
	} else if (offset == 16 && count == 8) {
		int error = fill();
		if (error)
			return error;
		value = BASE;
	} else if (offset == 24 && count == 8) {
		value = filled ? filled_size : 0;
	} else if (offset == 0 && count == 4) {
		value = state;
	} else if (offset != 4 || count != 4) {
		return EINVAL;
	}
	memcpy(data, &value, count);
	return 0;
}

static int write_migration(uint64_t offset, const uint8_t *data, uint32_t count)
{
	uint64_t value = 0;
	if (offset >= BASE) {
		if (offset + count > BASE + WINDOW || state != 4)
			return EINVAL;
		memcpy(window + (offset - BASE), data, count);
		return 0;
	}
	memcpy(&value, data, count <= 8 ? count : 8);
	if (offset == 0 && count == 4)
		return change((uint32_t)value);
	if (offset == 24 && count == 8)
		return state == 4 ? consume(value) : EINVAL;
	return offset == 4 && count == 4 ? 0 : EINVAL;
}

/* ---- called by the wire ---- */

static int describe(uint32_t region, struct wire_region *info)
{
	static const uint64_t sizes[] = {0x28, WORDS * 4, 0, BASE + WINDOW};
	info->size = sizes[region];
	if (info->size)
		info->flags = WIRE_REGION_READ | (region == 1 ? 0 : WIRE_REGION_WRITE);
	if (region == 3)
		wire_cap_type(&info->caps, 3, 1);
	return 0;
}

static int read_region(uint32_t region, uint64_t offset, uint8_t *data, uint32_t count)
{
	if (region == 0)
		return read_front(offset, data, count);
	if (region == 3)
		return read_migration(offset, data, count);
	if (region != 1 || offset + count > sizeof vram)
		return EINVAL;
	memcpy(data, (uint8_t *)vram + offset, count);
	return 0;
}

static int write_region(uint32_t region, uint64_t offset, const uint8_t *data, uint32_t count)
{
	return region == 0 ? write_front(offset, data, count) : region == 3 ? write_migration(offset, data, count) : EPERM;
}

static int reset(void)
{
	memset(&front, 0, sizeof front);
	memset(vram, 0, sizeof vram);
	memset(window, 0, sizeof window);
	hang = bad_cell = met_bad_cell = filled = front_moved = any_given = false;
	place = 0;
	state = 1;
	since = wire_now();
	serial++;
	for (struct wire_map *m = wire_maps(); m; m = m->next) {
		struct page_note *n = m->note;
		for (uint64_t i = 0; i < m->size / wire_page(); i++) {
			if (n[i].pins)
				n[i].written = serial;
			n[i].pins = 0;
		}
	}
	return 0;
}

static void opened(void)
{
	tracking = false;
	reset();
}

static int mapped(struct wire_map *map)
{
	map->note = calloc(map->size / wire_page(), sizeof(struct page_note));
	return map->note ? 0 : ENOMEM;
}

static void unmapped(struct wire_map *map) { free(map->note); }

static int track(bool on)
{
	for (struct wire_map *m = wire_maps(); m && on && !tracking; m = m->next) {
		struct page_note *n = m->note;
		for (uint64_t i = 0; i < m->size / wire_page(); i++)
			n[i].reported = n[i].written;
	}
	tracking = on;
	return 0;
}

static int fetch(uint64_t iova, uint64_t size, uint8_t *bits)
{
	if (!tracking)
		return EINVAL;
	for (uint64_t i = 0; i < size / wire_page(); i++) {
		struct page_note *n = note_of(iova + i * wire_page());
		if (n && (n->written != n->reported || n->pins))
			wire_set_bit(bits, i);
		if (n)
			n->reported = n->written;
	}
	return 0;
}

int main(int argc, char **argv)
{
	static const struct wire_device device = {
		.regions = 4, .page_size = 4096, .irqs = 1,
		.opened = opened, .describe = describe, .read = read_region, .write = write_region, .reset = reset,
		.mapped = mapped, .unmapped = unmapped, .track = track, .dirty = fetch, .patience = patience, .tick = work,
	};
	return wire_serve(&device, argc, argv);
}
