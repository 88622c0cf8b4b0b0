/* Groups; see group.h. */
#include "net/group.h"

#include <assert.h>

#include "base/room.h"
#include "net/conn.h"
#include "net/dial.h"
#include "net/engine.h"
#include "net/shard.h"

enum { BYE_SLICE = 1024 }; /* members that a group's end lets go at a time */

/* What one shard has of a group; its thread's alone. */
struct group_part {
    struct letter_call bye; /* the group's end, set aside so that it can't fail */
    sally_group *group;
    struct membership *head;
};

struct sally_group {
    sally_engine *engine;
    atomic_uint refs; /* its owner's, and one each member, cast, and letter */
    atomic_uint members;
    atomic_bool destroyed;
    sally_group *next; /* of the engine's, under its lock */
    sally_group *prev;
    struct group_part parts[]; /* one a shard */
};

static size_t group__bytes(const sally_engine *engine)
{
    return sizeof(sally_group) + engine->shard_count * sizeof(struct group_part);
}

sally_group *group_ref(sally_group *group)
{
    atomic_fetch_add_explicit(&group->refs, 1, memory_order_relaxed);
    return group;
}

void group_unref(sally_group *group)
{
    if (atomic_fetch_sub_explicit(&group->refs, 1, memory_order_acq_rel) != 1) return;
    sally_engine *engine = group->engine;
    mem_free(&engine->mem, group, group__bytes(engine));
}

sally_engine *group_engine(const sally_group *group) { return group->engine; }

struct membership *group_first(const sally_group *group, unsigned shard)
{
    return group->parts[shard].head;
}

/* ---- Membership; on the connection's shard ---- */

static bool membership__reserve(sally_engine *engine)
{
    return room_take(&engine->memberships, 1, (size_t)engine->conns_max * MEMBERSHIPS_PER_CONN);
}

static void membership__free(struct membership *member)
{
    sally_group *group = member->group;
    sally_engine *engine = group->engine;
    room_give(&engine->memberships, 1);
    mem_free(&engine->mem, member, sizeof *member);
    group_unref(group);
}

/* Where its memberships begin; NULL: it has no memory for any. */
static struct membership **conn__groups(sally_conn *conn)
{
    if (conn->state == CONN_DIALING) return &conn->dial->groups;
    return conn_extra(conn) ? &conn->extra->groups : NULL;
}

/* The link that leads to it, or the last one, which is empty. */
static struct membership **membership__of(sally_conn *conn, const sally_group *group)
{
    struct membership **at = conn__groups(conn);
    while (at && *at && (*at)->group != group) at = &(*at)->conn_next;
    return at;
}

/* New members come first: a cast that is under way, which they must not get, has passed there. */
static void membership__link(struct membership *member, sally_conn *conn)
{
    struct group_part *part = &member->group->parts[conn->shard->index];
    struct membership **groups = conn__groups(conn);
    member->conn = conn;
    member->conn_next = *groups;
    *groups = member;
    member->prev = NULL;
    member->next = part->head;
    if (part->head) part->head->prev = member;
    part->head = member;
    atomic_fetch_add_explicit(&member->group->members, 1, memory_order_relaxed);
}

/* Off the group's list; the connection's is the caller's matter. */
static void membership__unlink(struct membership *member)
{
    struct shard *shard = member->conn->shard;
    struct group_part *part = &member->group->parts[shard->index];
    if (shard->cast_member == member) shard->cast_member = member->next;
    if (member->prev)
        member->prev->next = member->next;
    else
        part->head = member->next;
    if (member->next) member->next->prev = member->prev;
    atomic_fetch_sub_explicit(&member->group->members, 1, memory_order_relaxed);
}

/* Takes the membership over. */
static void membership__begin(struct membership *member, sally_conn *conn)
{
    bool wanted = conn && conn->state < CONN_ENDING && !atomic_load(&member->group->destroyed);
    struct membership **at = wanted ? membership__of(conn, member->group) : NULL;
    if (at && !*at)
        membership__link(member, conn);
    else
        membership__free(member);
}

static void membership__end(sally_conn *conn, const sally_group *group)
{
    struct membership **at = membership__of(conn, group);
    struct membership *member = at ? *at : NULL;
    if (!member) return;
    *at = member->conn_next;
    membership__unlink(member);
    membership__free(member);
}

void group_leave_all(struct membership **groups)
{
    for (struct membership *member; (member = *groups);) {
        *groups = member->conn_next;
        membership__unlink(member);
        membership__free(member);
    }
}

/* ---- Joining and leaving ---- */

static void join__arrived(struct letter_call *call, struct shard *shard)
{
    struct membership *member = (struct membership *)(void *)call;
    membership__begin(member, shard ? letter_any_conn(shard, member->id) : NULL);
}

/* A leave travels as a membership too, since it has to say the same. */
static void leave__arrived(struct letter_call *call, struct shard *shard)
{
    struct membership *member = (struct membership *)(void *)call;
    sally_conn *conn = shard ? letter_any_conn(shard, member->id) : NULL;
    if (conn) membership__end(conn, member->group);
    sally_group *group = member->group;
    mem_free(&group->engine->mem, member, sizeof *member);
    group_unref(group);
}

static struct membership *membership__make(sally_group *group, sally_id id)
{
    sally_engine *engine = group->engine;
    struct membership *member = mem_zalloc(&engine->mem, sizeof *member);
    if (!member) return NULL;
    member->group = group_ref(group);
    member->id = id;
    member->serial = atomic_load(&engine->cast_serial);
    member->call.letter.mail.kind = LETTER_CALL;
    member->call.letter.mail.bytes = sizeof *member;
    return member;
}

int sally_group_join(sally_group *group, sally_id id)
{
    if (!group) return SALLY_EINVAL;
    sally_engine *engine = group->engine;
    struct shard *shard = engine_find_shard(engine, id);
    if (!shard) return SALLY_ENOCONN;
    if (!membership__reserve(engine)) return SALLY_ELIMIT;
    struct membership *member = membership__make(group, id);
    if (!member) {
        room_give(&engine->memberships, 1);
        return SALLY_ENOMEM;
    }
    sally_conn *conn = shard_current() == shard ? letter_any_conn(shard, id) : NULL;
    if (conn) {
        membership__begin(member, conn);
        return 0;
    }
    member->call.fn = join__arrived;
    int err = shard_post(shard, &member->call.letter, false);
    if (err) membership__free(member);
    return err;
}

int sally_group_leave(sally_group *group, sally_id id)
{
    if (!group) return SALLY_EINVAL;
    sally_engine *engine = group->engine;
    struct shard *shard = engine_find_shard(engine, id);
    if (!shard) return SALLY_ENOCONN;
    sally_conn *conn = shard_current() == shard ? letter_any_conn(shard, id) : NULL;
    if (conn) {
        membership__end(conn, group);
        return 0;
    }
    struct membership *member = membership__make(group, id);
    if (!member) return SALLY_ENOMEM;
    member->call.fn = leave__arrived;
    int err = shard_post(shard, &member->call.letter, false);
    if (!err) return 0;
    mem_free(&engine->mem, member, sizeof *member);
    group_unref(group);
    return err;
}

uint32_t sally_group_members(const sally_group *group)
{
    return group ? atomic_load_explicit(&group->members, memory_order_relaxed) : 0;
}

/* ---- The group's life ---- */

/* In slices, each a letter of its own, so that a large group's end holds nobody up. */
static void bye__arrived(struct letter_call *call, struct shard *shard)
{
    struct group_part *part = (struct group_part *)(void *)call;
    for (int i = 0; part->head && i < BYE_SLICE; i++)
        membership__end(part->head->conn, part->group);
    if (part->head && shard)
        (void)shard_post(shard, &part->bye.letter, true);
    else
        group_unref(part->group);
}

static void engine__link(sally_engine *engine, sally_group *group)
{
    group->next = engine->groups;
    if (engine->groups) engine->groups->prev = group;
    engine->groups = group;
    engine->group_count++;
}

static void engine__unlink(sally_engine *engine, sally_group *group)
{
    if (group->prev)
        group->prev->next = group->next;
    else
        engine->groups = group->next;
    if (group->next) group->next->prev = group->prev;
    engine->group_count--;
}

int sally_group_create(sally_group **out, sally_engine *engine)
{
    if (!out || !engine) return SALLY_EINVAL;
    sally_group *group = mem_zalloc(&engine->mem, group__bytes(engine));
    if (!group) return SALLY_ENOMEM;
    group->engine = engine;
    atomic_init(&group->refs, 1);
    for (unsigned i = 0; i < engine->shard_count; i++) {
        group->parts[i].group = group;
        group->parts[i].bye = (struct letter_call){
            .letter.mail = {sizeof(struct group_part), LETTER_CALL}, .fn = bye__arrived};
    }
    os_lock_take(&engine->lock);
    bool room = engine->group_count < GROUPS_MAX;
    if (room) engine__link(engine, group);
    os_lock_give(&engine->lock);
    if (!room) {
        group_unref(group);
        return SALLY_ELIMIT;
    }
    *out = group;
    return 0;
}

void sally_group_destroy(sally_group *group)
{
    if (!group) return;
    sally_engine *engine = group->engine;
    os_lock_take(&engine->lock);
    engine__unlink(engine, group);
    os_lock_give(&engine->lock);
    atomic_store(&group->destroyed, true);
    for (unsigned i = 0; i < engine->shard_count; i++) {
        group_ref(group);
        (void)shard_post(engine->shards[i], &group->parts[i].bye.letter, true);
    }
    group_unref(group);
}

void group_free_all(sally_engine *engine)
{
    for (sally_group *group; (group = engine->groups);) {
        assert(atomic_load(&group->members) == 0);
        engine__unlink(engine, group);
        group_unref(group);
    }
}
