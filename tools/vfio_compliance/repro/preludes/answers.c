/* SPDX-License-Identifier: GPL-2.0-only */

HELPER const char *error_name(int error)
{
	static const struct { int error; const char *name; } names[] = {
		{ EPERM, "EPERM" }, { ENOENT, "ENOENT" }, { EIO, "EIO" }, { ENXIO, "ENXIO" }, { E2BIG, "E2BIG" },
		{ EBADF, "EBADF" }, { EAGAIN, "EAGAIN" }, { ENOMEM, "ENOMEM" }, { EACCES, "EACCES" },
		{ EFAULT, "EFAULT" }, { EBUSY, "EBUSY" }, { EEXIST, "EEXIST" }, { ENODEV, "ENODEV" },
		{ EINVAL, "EINVAL" }, { ENOTTY, "ENOTTY" }, { ENOSPC, "ENOSPC" }, { EPIPE, "EPIPE" },
		{ ERANGE, "ERANGE" }, { EOVERFLOW, "EOVERFLOW" }, { EOPNOTSUPP, "EOPNOTSUPP" },
		{ 0, "an error without an errno" },
	};
	size_t at = 0;

	while (at < sizeof(names) / sizeof(*names) - 1 && names[at].error != error)
		at++;
	return names[at].error == error ? names[at].name : strerror(error);
}

/* Room for a text that is printed soon. */
HELPER char *text(void)
{
	static char texts[8][256];
	static int turn;

	return texts[turn++ % 8];
}

HELPER const char *described(struct answer answer)
{
	char *line = text();

	if (answer.value < 0)
		return error_name(answer.error);
	if (!answer.failed)
		return "success";
	snprintf(line, 256, "bytes moved: %lld of %zu", answer.value, answer.length);
	return line;
}

HELPER struct answer no_error(struct answer answer, const char *what)
{
	if (answer.value >= 0)
		return answer;
	printf("%s: %s, as expected\nthe fault does not show\n", what, described(answer));
	exit(0);
}

/* A call that the fault depends on has to succeed; if an error is expected, any will do. */
HELPER struct answer must(struct answer answer, const char *what)
{
	if (!answer.failed)
		return answer;
	if (an_error_is_right)
		return no_error(answer, what);
	printf("could not tell: %s: %s\n", what, described(answer));
	exit(2);
}

/* A call that succeeded when this was recorded. */
HELPER struct answer taken(struct answer answer, const char *what)
{
	if (answer.failed)
		snprintf(otherwise, sizeof(otherwise), "%s was refused (%s), and was not when this was recorded", what,
			 described(answer));
	return answer;
}

/* A call that was refused when this was recorded. */
HELPER struct answer refused(struct answer answer, const char *what)
{
	if (!answer.failed)
		snprintf(otherwise, sizeof(otherwise), "%s succeeded, and was refused when this was recorded", what);
	return answer;
}

HELPER int gone(struct answer answer)
{
	return answer.value < 0 && (answer.error == EPIPE || answer.error == EPROTO);
}

HELPER uint64_t field(struct answer answer, size_t offset, size_t width)
{
	return offset + width <= answer.size ? get(answer.data + offset, width) : 0;
}

/* Bytes from hexadecimal digits. */
HELPER struct answer from_hex(const char *digits)
{
	size_t size = strlen(digits) / 2, at;
	unsigned char *data = memory(size);

	for (at = 0; at < size; at++)
		sscanf(digits + 2 * at, "%2hhx", data + at);
	return success(size, size, data, size);
}

