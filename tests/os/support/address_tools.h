/* Tools of the tests of addresses. */
#ifndef OS_SUPPORT_ADDRESS_TOOLS_H
#define OS_SUPPORT_ADDRESS_TOOLS_H

#include <stddef.h>

#include "os/address.h"

/* address_parse of a copy in a block of its exact size, so that the sanitizer sees reads behind its
 * end. Asserts that a refused text leaves `address` alone. */
int parse(struct address *address, const char *text);

/* Fails the test unless the text is read. */
struct address parsed(const char *text);

/* Fails the test unless the text is refused. */
void assert_refused(const char *text);

void assert_formats(const struct addr *addr, const char *text);

/* `before`, `len` times `c`, `after`; the caller frees it. */
char *text_of_length(const char *before, char c, size_t len, const char *after);

#endif
