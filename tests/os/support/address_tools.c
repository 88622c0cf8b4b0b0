#include "os/support/address_tools.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sallyport/error.h"

int parse(struct address *address, const char *text)
{
    size_t size = strlen(text) + 1;
    char *exact = malloc(size);
    memcpy(exact, text, size);
    struct address before;
    memset(address, 0x5A, sizeof *address);
    before = *address;
    int err = address_parse(address, exact);
    if (err) {
        assert_int_equal(err, SALLY_EADDRESS);
        assert_memory_equal(address, &before, sizeof before);
    }
    free(exact);
    return err;
}

struct address parsed(const char *text)
{
    struct address address;
    if (parse(&address, text) != 0) fail_msg("\"%s\" was refused", text);
    return address;
}

void assert_refused(const char *text)
{
    struct address address;
    if (parse(&address, text) == 0) fail_msg("\"%s\" was taken", text);
}

void assert_formats(const struct addr *addr, const char *text)
{
    char buf[ADDRESS_TEXT_MAX];
    assert_ptr_equal(addr_format(addr, buf, sizeof buf), buf);
    assert_string_equal(buf, text);
}

char *text_of_length(const char *before, char c, size_t len, const char *after)
{
    size_t head = strlen(before), tail = strlen(after);
    char *text = malloc(head + len + tail + 1);
    memcpy(text, before, head);
    memset(text + head, c, len);
    memcpy(text + head + len, after, tail + 1);
    return text;
}
