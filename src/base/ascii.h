/* The characters of ASCII, for protocols and settings. Not the C library's <ctype.h>: that follows
 * the locale, and must not be asked about a negative char. Pure; any thread. */
#ifndef BASE_ASCII_H
#define BASE_ASCII_H

#include <stdbool.h>

static inline bool ascii_is_blank(char c) { return c == ' ' || c == '\t'; }
static inline bool ascii_is_digit(char c) { return c >= '0' && c <= '9'; }
static inline char ascii_lower(char c) { return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c); }
static inline bool ascii_is_letter(char c)
{
    return ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z';
}

/* What a hexadecimal digit stands for; -1: it is none. */
static inline int ascii_hex(char c)
{
    if (ascii_is_digit(c)) return c - '0';
    char small = ascii_lower(c);
    return small >= 'a' && small <= 'f' ? small - 'a' + 10 : -1;
}

#endif
