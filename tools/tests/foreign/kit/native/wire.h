// SPDX-License-Identifier: GPL-2.0-only
/*
 * The socket side of a vfio-user server: framing, version, replies, descriptors, the table of mapped client memory.
 * The device decides what a region holds, how a mapping records dirty pages, and what it does itself.
 */
#ifndef WIRE_H
#define WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_REGION_READ 1u
#define WIRE_REGION_WRITE 2u
#define WIRE_REGION_MMAP 4u
#define WIRE_MAP_READ 1u
#define WIRE_MAP_WRITE 2u

/* Memory of the client. mem is NULL if no descriptor came with it: then messages carry the data. */
struct wire_map {
	uint64_t iova, size;
	uint32_t flags;
	uint8_t *mem;
	void *note; /* the device's own */
	struct wire_map *next;
	void *base;
	size_t base_len;
};

/* A chain of capabilities, which follows the 32 bytes of the region's information. */
struct wire_caps {
	uint8_t bytes[1024];
	uint32_t len, last;
};

struct wire_region {
	uint64_t size, offset;
	uint32_t flags;
	int fd; /* -1: none */
	struct wire_caps caps;
};

struct wire_area {
	uint64_t offset, size;
};

/* Each hook of type int returns 0 or a positive errno. Hooks that are NULL do nothing and succeed. */
struct wire_device {
	uint32_t regions, page_size, irqs; /* with 9 regions or more, it is a PCI device */
	bool by_message;                   /* client memory is never mapped, and accessed by messages */
	void (*opened)(void);
	void (*closed)(void);
	int (*describe)(uint32_t region, struct wire_region *info);
	int (*read)(uint32_t region, uint64_t offset, uint8_t *data, uint32_t count);
	int (*write)(uint32_t region, uint64_t offset, const uint8_t *data, uint32_t count);
	int (*reset)(void);
	int (*mapped)(struct wire_map *map);
	void (*unmapped)(struct wire_map *map);
	int (*track)(bool on);
	/* Sets a bit in bits (zeroed) for each dirty page from iova on, and clears the record; pages are of page_size. */
	int (*dirty)(uint64_t iova, uint64_t size, uint8_t *bits);
	int (*patience)(void); /* milliseconds until the next tick, -1 for never */
	void (*tick)(void);
};

int wire_serve(const struct wire_device *device, int argc, char **argv);
bool wire_broken(const char *name); /* whether --break=NAME was given */

uint32_t wire_page(void); /* the page size of dirty bitmaps, as agreed in VERSION */
struct wire_map *wire_maps(void);
struct wire_map *wire_find(uint64_t iova);
bool wire_covered(uint64_t iova, uint64_t size, uint32_t flags); /* all of it is mapped with this access */
int wire_dma_write(uint64_t iova, const void *data, uint64_t size);
int wire_dma_read(uint64_t iova, void *data, uint64_t size);
uint64_t wire_now(void); /* nanoseconds */
int wire_memory(const char *name, uint64_t size, uint8_t **view); /* a memfd, mapped */

void wire_cap(struct wire_caps *caps, uint16_t id, uint16_t version, const void *body, uint32_t size);
void wire_cap_type(struct wire_caps *caps, uint32_t type, uint32_t subtype);
void wire_cap_areas(struct wire_caps *caps, const struct wire_area *areas, uint32_t count);

static inline void wire_set_bit(uint8_t *bits, uint64_t n)
{
	bits[n / 8] |= (uint8_t)(1u << n % 8);
}

#endif
