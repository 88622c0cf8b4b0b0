#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "filter/support/proxy_model.h"

static const char *model_ip(int family, const void *ip, unsigned port, char *text)
{
    const uint8_t *bytes = ip;
    char plain[INET6_ADDRSTRLEN];
    bool mapped = family == AF_INET6 && memcmp(bytes, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12) == 0;
    if (mapped) {
        family = AF_INET;
        bytes += 12;
    }
    inet_ntop(family, bytes, plain, sizeof plain);
    snprintf(text, TEXT, family == AF_INET ? "%s:%u" : "[%s]:%u", plain, port);
    return text;
}

static bool model_port(const char *text, unsigned *port)
{
    char again[8];
    if (strlen(text) > 5 || sscanf(text, "%5u", port) != 1) return false;
    snprintf(again, sizeof again, "%u", *port);
    return strcmp(again, text) == 0 && *port < 65536;
}

/* Some systems take "10.09.0.1". */
static bool model_has_octal(const char *text)
{
    const char *colon = strrchr(text, ':');
    const char *at = colon ? colon + 1 : text;
    if (!strchr(at, '.')) return false;
    for (; at; at = strchr(at, '.') ? strchr(at, '.') + 1 : NULL)
        if (at[0] == '0' && at[1] >= '0' && at[1] <= '9') return true;
    return false;
}

/* A line without its end. */
static bool model_line(const char *line, struct told *told)
{
    char kind[108], from[108], to[108], port[2][108], again[600];
    unsigned ports[2];
    uint8_t ips[2][16];
    snprintf(told->source, TEXT, "-");
    snprintf(told->dest, TEXT, "-");
    if (strcmp(line, "PROXY UNKNOWN") == 0 || strncmp(line, "PROXY UNKNOWN ", 14) == 0) return true;
    if (sscanf(line, "PROXY %107s %107s %107s %107s %107s", kind, from, to, port[0], port[1]) != 5)
        return false;
    snprintf(again, sizeof again, "PROXY %s %s %s %s %s", kind, from, to, port[0], port[1]);
    int family = strcmp(kind, "TCP4") == 0 ? AF_INET : AF_INET6;
    if (strcmp(again, line) || (family == AF_INET6 && strcmp(kind, "TCP6")) ||
        inet_pton(family, from, ips[0]) != 1 || inet_pton(family, to, ips[1]) != 1 ||
        model_has_octal(from) || model_has_octal(to) || !model_port(port[0], &ports[0]) ||
        !model_port(port[1], &ports[1]))
        return false;
    model_ip(family, ips[0], ports[0], told->source);
    model_ip(family, ips[1], ports[1], told->dest);
    return true;
}

uint32_t model_crc(const uint8_t *bytes, size_t len, size_t hole)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < len; i++) {
        crc ^= i >= hole && i < hole + 4 ? 0u : bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
    }
    return ~crc;
}

static bool model_values(const uint8_t *bytes, size_t at, size_t len)
{
    size_t sum_at = 0;
    while (at < len) {
        if (len - at < 3) return false;
        size_t value = (size_t)(bytes[at + 1] << 8 | bytes[at + 2]);
        if (len - at - 3 < value) return false;
        if (bytes[at] == 3) {
            if (value != 4 || sum_at) return false;
            sum_at = at + 3;
        }
        at += 3 + value;
    }
    if (!sum_at) return true;
    uint32_t told = (uint32_t)bytes[sum_at] << 24 | (uint32_t)bytes[sum_at + 1] << 16 |
                    (uint32_t)bytes[sum_at + 2] << 8 | bytes[sum_at + 3];
    return told == model_crc(bytes, len, sum_at);
}

static bool model_binary(const uint8_t *bytes, size_t len, struct told *told)
{
    static const uint8_t signature[] = {SIGNATURE};
    if (len < 16 || memcmp(bytes, signature, 12)) return false;
    size_t rest = (size_t)(bytes[14] << 8 | bytes[15]);
    unsigned family = bytes[13] >> 4, protocol = bytes[13] & 15;
    if (16 + rest > HEADER_MAX || 16 + rest > len) return false;
    told->used = 16 + rest;
    snprintf(told->source, TEXT, "-");
    snprintf(told->dest, TEXT, "-");
    if (bytes[12] == 0x20) return true;
    if (bytes[12] != 0x21 || family > 3 || protocol > 2) return false;
    if (!family || !protocol) return true;
    size_t addresses = family == 1 ? 12 : family == 2 ? 36 : 216;
    if (rest < addresses || !model_values(bytes, 16 + addresses, told->used)) return false;
    if (family == 3) return true;
    size_t ip = family == 1 ? 4 : 16;
    const uint8_t *ports = bytes + 16 + 2 * ip;
    int af = family == 1 ? AF_INET : AF_INET6;
    model_ip(af, bytes + 16, (unsigned)(ports[0] << 8 | ports[1]), told->source);
    model_ip(af, bytes + 16 + ip, (unsigned)(ports[2] << 8 | ports[3]), told->dest);
    return true;
}

bool model(const uint8_t *bytes, size_t len, struct told *told)
{
    memset(told, 0, sizeof *told);
    told->answer = PROXY_DONE;
    if (len && bytes[0] != 'P') {
        told->version = 2;
        return model_binary(bytes, len, told);
    }
    char line[108];
    size_t end = 0;
    for (; end < len && end < 107 && bytes[end] != '\r' && bytes[end] != '\n'; end++) {
        line[end] = (char)bytes[end];
    }
    if (end + 2 > len || end + 2 > 107 || bytes[end] != '\r' || bytes[end + 1] != '\n')
        return false;
    line[end] = 0;
    bool unknown = end >= 13 && memcmp(line, "PROXY UNKNOWN", 13) == 0;
    if (strlen(line) != end && !(unknown && line[13] == ' ')) return false;
    told->version = 1;
    told->used = end + 2;
    return model_line(line, told);
}
