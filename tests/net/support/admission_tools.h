/* What tests of admission share, on top of accept_tools.h. */
#ifndef NET_SUPPORT_ADMISSION_TOOLS_H
#define NET_SUPPORT_ADMISSION_TOOLS_H

#include "net/support/accept_tools.h"
#include "sallyport/admission.h"

/* A client from 127.0.0.LAST, with time limits; -1 when it was reset as early as that. */
int dial_from(unsigned last, const char *address);

/* What it hears next; of -1 it is the reset. */
enum heard hear_from(int fd, unsigned ms);

/* One client from there, and what becomes of it. */
void check_served_from(unsigned last, const char *address);
void check_reset_from(unsigned last, const char *address);
bool is_served_from(unsigned last, const char *address);

/* The causes' sum is never more than what was refused. */
sally_admission_stats admission_stats(sally_server *server);
uint64_t refused(sally_server *server, sally_refusal why);

sally_bans *bans_new(void);

/* An engine that runs, with one server. */
void serve_with(struct rig *rig, struct tally *tally, const struct setting *setting,
                const sally_server_options *options, sally_server **server, char *address);

#endif
