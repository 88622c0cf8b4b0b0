/* Transfers of files that fail in the ways of Windows, on the fake kernel; see iocp_fault_test.c.
 * */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "port/iocp.h"
#include "port/support/stage.h"
#include "sallyport/error.h"
#include "win32/support/trial_fake.h"

enum { BYTES = 1000 };

/* One transfer on a connection of its own: its error. */
static int transfer(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    os_file file = stage->ground->file(stage->world, actor->tag_out, 0, 0, BYTES);
    stage_send_file(stage, actor, file, 0, BYTES);
    AWAIT(stage, !actor_flies(actor, PORT_SEND));
    CHECK_EQUAL(actor->endings[PORT_SEND], 1);
    stage->ground->file_close(stage->world, file);
    int error = actor->error[PORT_SEND];
    if (!error) CHECK_EQUAL(actor->sent, BYTES);
    stage_drop(stage, actor, PORT_CLOSE_RST);
    peer_close(peer, PORT_CLOSE_RST);
    return error;
}

static void a_transfer_that_fails_at_once_is_one_event(struct stage *stage)
{
    static const int codes[] = {WIN32_WSAENOBUFS, WIN32_WSAEOPNOTSUPP, WIN32_WSAECONNRESET};
    static const int errors[] = {SALLY_EEXHAUSTED, SALLY_ENOTSUP, SALLY_ERESET};
    for (unsigned i = 0; i < 9; i++) {
        fake_fail(fake_of(stage), FAKE_TRANSMIT, 0, 1, codes[i % 3]);
        CHECK_EQUAL(transfer(stage), errors[i % 3]);
        CHECK_EQUAL(transfer(stage), 0);
    }
}

static void an_error_of_the_file_is_told_as_one(struct stage *stage)
{
    static const int statuses[] = {WIN32_STATUS_END_OF_FILE, WIN32_STATUS_CRC_ERROR,
                                   WIN32_STATUS_DEVICE_DATA_ERROR, WIN32_STATUS_IO_DEVICE_ERROR,
                                   WIN32_STATUS_FILE_LOCK_CONFLICT};
    for (unsigned i = 0; i < 10; i++) {
        fake_fail(fake_of(stage), FAKE_TRANSMIT_ENDS, 0, 1, statuses[i % 5]);
        CHECK_EQUAL(transfer(stage), SALLY_EFILE);
        CHECK_EQUAL(transfer(stage), 0);
    }
}

static void what_nobody_cancelled_is_a_reset(struct stage *stage)
{
    static const int statuses[] = {WIN32_STATUS_CANCELLED, WIN32_STATUS_CONNECTION_ABORTED,
                                   WIN32_STATUS_REQUEST_ABORTED, WIN32_STATUS_CONNECTION_RESET};
    for (unsigned i = 0; i < 8; i++) {
        fake_fail(fake_of(stage), FAKE_TRANSMIT_ENDS, 0, 1, statuses[i % 4]);
        CHECK_EQUAL(transfer(stage), SALLY_ERESET);
    }
}

/* Nothing was sent, and the system was not asked to. */
static void a_file_without_a_length_is_not_sent(struct stage *stage)
{
    struct peer *peer;
    struct actor *actor = stage_pair(stage, &peer);
    os_file file = stage->ground->file(stage->world, actor->tag_out, 0, 0, BYTES);
    fake_fail(fake_of(stage), FAKE_FILE_BYTES, 0, 1, WIN32_ERROR_INVALID_HANDLE);
    stage_send_file(stage, actor, file, 0, BYTES);
    AWAIT(stage, !actor_flies(actor, PORT_SEND));
    CHECK_EQUAL(actor->error[PORT_SEND], SALLY_EFILE);
    CHECK_EQUAL(fake_count(fake_of(stage), FAKE_TRANSMIT), 0);
    stage_send_file(stage, actor, file, 0, BYTES);
    AWAIT(stage, !actor_flies(actor, PORT_SEND));
    UNTIL(stage, peer_got(peer, BYTES));
    CHECK_EQUAL(peer->got, BYTES);
    stage->ground->file_close(stage->world, file);
}

/* It was cut between the look at its length and the transfer, which finds less or nothing. */
static void a_file_that_was_cut_just_then(struct stage *stage)
{
    static const uint32_t lengths[] = {300, 0};
    for (unsigned i = 0; i < 2; i++) {
        struct peer *peer;
        struct actor *actor = stage_pair(stage, &peer);
        os_file file = stage->ground->file(stage->world, actor->tag_out, 0, 0, lengths[i]);
        fake_of(stage)->file_bytes_more = 500;
        stage_send_file_all(stage, actor, file, 0, BYTES);
        AWAIT(stage, !actor_flies(actor, PORT_SEND));
        fake_of(stage)->file_bytes_more = 0;
        CHECK_EQUAL(actor->error[PORT_SEND], SALLY_EFILEEND);
        CHECK_EQUAL(actor->sent, lengths[i]);
        stage_send(stage, actor, 10);
        UNTIL(stage, peer_got(peer, lengths[i] + 10));
        CHECK_EQUAL(peer->got, lengths[i] + 10);
        stage->ground->file_close(stage->world, file);
    }
}

static void an_attach_that_failed_is_told(struct stage *stage)
{
    fake_fail(fake_of(stage), FAKE_ADD, 1, 1, WIN32_WSAENOBUFS); /* after the listener's */
    CHECK_EQUAL(transfer(stage), SALLY_EEXHAUSTED);
    CHECK_EQUAL(transfer(stage), 0);
}

static void without_the_extension_there_is_no_such_ability(struct stage *stage)
{
    struct port_config config;
    struct port *port;
    stage_port_config(stage, &config);
    CHECK(stage->port->abilities & PORT_CAN_SEND_FILE);
    fake_of(stage)->no_transmit = true;
    CHECK_EQUAL(port_create(&port_iocp_ops, &config, &port), 0);
    CHECK(!(port->abilities & PORT_CAN_SEND_FILE));
    port_destroy(port);
}

int main(int argc, char **argv)
{
    static struct fake_case cases[] = {
        CASE(a_transfer_that_fails_at_once_is_one_event),
        CASE(an_error_of_the_file_is_told_as_one),
        CASE(what_nobody_cancelled_is_a_reset),
        CASE(a_file_without_a_length_is_not_sent),
        CASE(a_file_that_was_cut_just_then),
        CASE(an_attach_that_failed_is_told),
        CASE(without_the_extension_there_is_no_such_ability),
    };
    return fake_cases_run("iocp_file_fault", cases, sizeof cases / sizeof cases[0], argc, argv);
}
