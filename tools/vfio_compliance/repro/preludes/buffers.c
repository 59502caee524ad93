/* SPDX-License-Identifier: GPL-2.0-only */

/* Read the buffers that the device offers, so many or all: pending_bytes, data_offset, data_size, the data. */
HELPER struct saved save(struct device *device, int region, int buffers, int reads)
{
	struct saved saved = { memory(MOST_BUFFERS * sizeof(struct answer)), 0 };
	uint64_t offset, size, pending = 0;
	int read;

	while ((buffers == ALL || saved.count < buffers) && saved.count < MOST_BUFFERS) {
		for (read = 0; read < reads; read++)
			pending = must(read_at(device, region, PENDING_BYTES, 8), "pending_bytes").number;
		if (!pending)
			break;
		offset = must(read_at(device, region, DATA_OFFSET, 8), "data_offset").number;
		size = must(read_at(device, region, DATA_SIZE, 8), "data_size").number;
		if (!size || size > 1ull << 32)
			must(failure(ENODATA, 0), "data_size while bytes are pending");
		saved.buffers[saved.count++] = must(read_at(device, region, offset, size), "the data");
	}
	return saved;
}

/* Give a device that is resuming so many of these buffers, or all: data_offset, the data, data_size. */
HELPER void load(struct device *device, int region, struct saved saved, int first, int buffers)
{
	uint64_t offset;
	int at;

	for (at = first; at < saved.count && (buffers == ALL || at < first + buffers); at++) {
		offset = must(read_at(device, region, DATA_OFFSET, 8), "data_offset").number;
		must(write_data(device, region, offset, saved.buffers[at]), "the data");
		must(write_number(device, region, DATA_SIZE, 8, saved.buffers[at].size), "data_size");
	}
}
