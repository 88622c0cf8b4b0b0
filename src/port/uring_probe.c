/* What of io_uring can be had here. Containers forbid it, kernels lack parts of it or do parts of
 * it wrong: so the ring is made with as many features as the kernel takes, what the port can't do
 * without is looked for, and a trial run on loopback (uring_trial.c) must come out right before the
 * fast ways are believed. Any thread. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "os/error.h"
#include "port/uring.h"
#include "sallyport/error.h"

/* --- why not --- */

enum { REFUSAL_MAX = 192, KNOWN = 1u << 31 };

static _Thread_local char refusal[REFUSAL_MAX];

const char *uring_refusal(void) { return refusal; }

static const char *hint(int err)
{
    switch (err) {
    case EPERM:
    case EACCES: return " (seccomp or kernel.io_uring_disabled)";
    case ENOSYS: return " (a kernel without io_uring, or seccomp)";
    case ENOMEM: return " (no memory, or the limit of locked memory is too low)";
    case EINVAL: return " (an old kernel)";
    default: return "";
    }
}

void uring_refuse(const char *what, int err)
{
    char text[96];
    if (!what) {
        refusal[0] = 0;
    } else if (!err) {
        snprintf(refusal, sizeof refusal, "%s", what);
    } else {
        const char *name = strerrorname_np(err);
        snprintf(refusal, sizeof refusal, "%s: %s%s", what,
                 name ? name : os_error_text(err, text, sizeof text), hint(err));
    }
}

/* --- the ring --- */

static uint32_t setup_flags(uint32_t features_off)
{
    uint32_t flags = IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP |
                     IORING_SETUP_R_DISABLED;
    if (!(features_off & PORT_NO_SINGLE_ISSUER)) flags |= IORING_SETUP_SINGLE_ISSUER;
    /* without either the kernel interrupts the thread to finish what has completed */
    flags |= features_off & PORT_NO_DEFER_TASKRUN ? IORING_SETUP_COOP_TASKRUN
                                                  : IORING_SETUP_DEFER_TASKRUN;
    return flags;
}

/* One feature goes with another. */
static uint32_t features_closure(uint32_t off)
{
    if (off & PORT_NO_BUF_RING) off |= PORT_NO_MULTISHOT_RECV;
    if (off & PORT_NO_MULTISHOT_RECV) off |= PORT_NO_BUNDLES;
    if (off & PORT_NO_BUNDLES) off |= PORT_NO_RATION;
    if (off & PORT_NO_SINGLE_ISSUER) off |= PORT_NO_DEFER_TASKRUN;
    return off;
}

/* Bundles came with 6.10, and up to 6.15 a receive that went on after a short one could leave a gap
 * in the bytes of a bundle, which nothing shows. With 6.17 a multishot receive can be told after
 * how many bytes it is to end; kernels before it refuse that, but only when the receive is made. */
static uint32_t features_by_version(void)
{
    struct utsname name;
    unsigned major = 0, minor = 0;
    if (uname(&name) != 0 || sscanf(name.release, "%u.%u", &major, &minor) != 2)
        return PORT_NO_BUNDLES;
    if (major < 6 || (major == 6 && minor < 16)) return PORT_NO_BUNDLES;
    return major == 6 && minor == 16 ? PORT_NO_RATION : 0;
}

/* What there is no way around. */
static const char *missing(struct io_uring *ring)
{
    static const struct {
        int op;
        const char *name;
    } needed[] = {
        {IORING_OP_ACCEPT, "IORING_OP_ACCEPT"},
        {IORING_OP_RECV, "IORING_OP_RECV"},
        {IORING_OP_SEND, "IORING_OP_SEND"},
        {IORING_OP_SENDMSG, "IORING_OP_SENDMSG"},
        {IORING_OP_CLOSE, "IORING_OP_CLOSE"},
        {IORING_OP_POLL_ADD, "IORING_OP_POLL_ADD"},
        {IORING_OP_ASYNC_CANCEL, "IORING_OP_ASYNC_CANCEL"},
    };
    const uint32_t features = IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE |
                              IORING_FEAT_FAST_POLL | IORING_FEAT_EXT_ARG | IORING_FEAT_CQE_SKIP;
    union {
        struct io_uring_probe probe;
        unsigned char room[sizeof(struct io_uring_probe) + 64 * sizeof(struct io_uring_probe_op)];
    } ops;
    if ((ring->features & features) != features) return "io_uring of an old kernel";
    memset(&ops, 0, sizeof ops);
    if (io_uring_register_probe(ring, &ops.probe, 64) != 0) return "io_uring_register(probe)";
    for (unsigned i = 0; i < sizeof needed / sizeof *needed; i++)
        if (!io_uring_opcode_supported(&ops.probe, needed[i].op)) return needed[i].name;
    return NULL;
}

/* The next thing to do without after the kernel refused the flags. */
static bool give_way(struct uring *uring)
{
    if (uring_has(uring, PORT_NO_DEFER_TASKRUN)) {
        uring->features_off |= PORT_NO_DEFER_TASKRUN;
    } else if (uring_has(uring, PORT_NO_SINGLE_ISSUER)) {
        uring->features_off |= PORT_NO_SINGLE_ISSUER;
    } else {
        return false;
    }
    return true;
}

int uring_probe_ring(struct uring *uring, uint32_t sq_entries, uint32_t cq_entries)
{
    int rc;
    uring->features_off = features_closure(uring->features_off);
    do {
        struct io_uring_params params = {.flags = setup_flags(uring->features_off),
                                         .cq_entries = cq_entries};
        rc = io_uring_queue_init_params(sq_entries, &uring->ring, &params);
        uring->setup_flags = params.flags;
    } while (rc == -EINVAL && give_way(uring));
    if (rc < 0) {
        uring->ring.ring_fd = -1;
        uring_refuse("io_uring_setup", -rc);
        return rc == -EMFILE || rc == -ENFILE ? SALLY_EEXHAUSTED : SALLY_ENOPORT;
    }
    const char *lacks = missing(&uring->ring);
    if (lacks) {
        uring_refuse(lacks, ENOSYS);
        return SALLY_ENOPORT;
    }
    uint32_t off = uring->features_off | features_by_version();
    if (!(uring->ring.features & URING_FEAT_RECVSEND_BUNDLE)) off |= PORT_NO_BUNDLES;
    uring->features_off = features_closure(off);
    return 0;
}

/* --- the choice --- */

int uring_choose(struct mem *mem, uint32_t wanted_off, uring_trial_fn *trial, uint32_t *off)
{
    static const uint32_t order[] = {
        PORT_NO_RATION,   PORT_NO_BUNDLES, PORT_NO_MULTISHOT_RECV, PORT_NO_MULTISHOT_ACCEPT,
        PORT_NO_BUF_RING, PORT_NO_RING_FD, PORT_NO_DEFER_TASKRUN,  PORT_NO_SINGLE_ISSUER};
    *off = features_closure(wanted_off);
    int rc = trial(mem, *off);
    for (unsigned i = 0; rc < 0 && i < sizeof order / sizeof *order; i++) {
        if (*off & order[i]) continue;
        *off = features_closure(*off | order[i]);
        rc = trial(mem, *off);
    }
    return rc < 0 ? rc : rc > 0 ? 1 : 0;
}

/* What a kernel can doesn't change, so it is found out once; a refusal or a trial that could not be
 * made isn't remembered. Threads that come at the same time find the same. */
int uring_choose_once(struct mem *mem, uint32_t wanted_off, uint32_t *off)
{
    static _Atomic uint32_t known;
    uint32_t found = atomic_load(&known);
    if (found & KNOWN) {
        *off = features_closure(wanted_off | (found & ~KNOWN));
        return 0;
    }
    int rc = uring_choose(mem, wanted_off, uring_trial, off);
    if (rc == 0 && wanted_off == 0) atomic_store(&known, *off | KNOWN);
    return rc < 0 ? rc : 0;
}
