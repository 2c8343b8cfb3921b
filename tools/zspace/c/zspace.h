/* Guest SDK for spaces written in C: the imports, of which agent/runtime/ABI.md says what they do, and what unlocks
 * them. A space exports on_process, and, if it likes, on_init and on_close. What returns a size returns a refusal
 * instead if it is negative. */
#ifndef ZSPACE_H
#define ZSPACE_H

#include <stddef.h>
#include <stdint.h>

#define ZSPACE_IMPORT(module, name) __attribute__((import_module(#module), import_name(#name)))
#define ZSPACE_EXPORT(name) __attribute__((export_name(#name)))

enum zspace_refusal {
    ZSPACE_NOT_FOUND = -1,
    ZSPACE_TRY_AGAIN = -2,
    ZSPACE_TOO_LARGE = -3,
    ZSPACE_DENIED = -4,
    ZSPACE_FAILED = -5,
    ZSPACE_TIMED_OUT = -6,
    ZSPACE_TAKEN = -7,
    ZSPACE_FULL = -8,
};

enum zspace_level { ZSPACE_DEBUG = 0, ZSPACE_INFO = 1, ZSPACE_WARN = 2, ZSPACE_ERROR = 3 };

/* What mail is, as net_recv_kind says. */
enum zspace_kind {
    ZSPACE_MESSAGE = 0,
    ZSPACE_OWN = 1,
    ZSPACE_DIRECT = 2,
    ZSPACE_CALL = 3,
    ZSPACE_EXIT = 4,
    ZSPACE_DOWN = 5,
    ZSPACE_ZHOST_DOWN = 6,
    ZSPACE_NAME_LOST = 7,
    ZSPACE_READING = 8,
    ZSPACE_EVENT = 9,
};

/* One start of a space. */
typedef struct { uint8_t bytes[16]; } zspace_pid;

/* For sys_sleep: until something comes. */
#define ZSPACE_FOREVER 0xffffffffu

ZSPACE_IMPORT(sys, log) void sys_log(int32_t level, const char *text, size_t size);
ZSPACE_IMPORT(sys, time_ms) int64_t sys_time_ms(void);
ZSPACE_IMPORT(sys, now_us) int64_t sys_now_us(void);
ZSPACE_IMPORT(sys, sleep) void sys_sleep(uint32_t ms);
ZSPACE_IMPORT(sys, yield) void sys_yield(void);
ZSPACE_IMPORT(sys, self_emit) int32_t sys_self_emit(const void *data, size_t size);
ZSPACE_IMPORT(sys, random) void sys_random(void *buffer, size_t size);
ZSPACE_IMPORT(sys, config) int32_t sys_config(const char *key, size_t key_size, void *buffer, size_t room);
ZSPACE_IMPORT(sys, secret) int32_t sys_secret(const char *name, size_t size, void *buffer, size_t room);
ZSPACE_IMPORT(sys, argument) int32_t sys_argument(void *buffer, size_t room);
ZSPACE_IMPORT(sys, report) void sys_report(int32_t healthy, uint32_t busy_percent, const char *text, size_t size);

ZSPACE_IMPORT(net, emit_to) int32_t net_emit_to(const char *path, size_t path_size, const void *data, size_t size);
ZSPACE_IMPORT(net, recv_next) int32_t net_recv_next(void *buffer, size_t room);
ZSPACE_IMPORT(net, recv_path) int32_t net_recv_path(void *buffer, size_t room);
ZSPACE_IMPORT(net, recv_kind) int32_t net_recv_kind(void);
ZSPACE_IMPORT(net, sender) int32_t net_sender(zspace_pid *pid);
ZSPACE_IMPORT(net, undelivered) int32_t net_undelivered(void *buffer, size_t room);
ZSPACE_IMPORT(net, call)
int32_t net_call(const char *path, size_t path_size, const void *data, size_t size, uint32_t ms, void *reply, size_t room);
ZSPACE_IMPORT(net, reply) int32_t net_reply(const void *data, size_t size);

ZSPACE_IMPORT(proc, self) int32_t proc_self(zspace_pid *pid);
ZSPACE_IMPORT(proc, list) int32_t proc_list(void *buffer, size_t room);
ZSPACE_IMPORT(proc, spawn)
int32_t proc_spawn(const char *zhost, size_t zhost_size, const char *space, size_t space_size, const void *argument,
                   size_t size, zspace_pid *pid);
ZSPACE_IMPORT(proc, spawn_link)
int32_t proc_spawn_link(const char *zhost, size_t zhost_size, const char *space, size_t space_size, const void *argument,
                        size_t size, zspace_pid *pid);
ZSPACE_IMPORT(proc, exit) int32_t proc_exit(const zspace_pid *pid, const char *reason, size_t size);
ZSPACE_IMPORT(proc, send) int32_t proc_send(const zspace_pid *pid, const void *data, size_t size);
ZSPACE_IMPORT(proc, unsent) int32_t proc_unsent(void *buffer, size_t room);
ZSPACE_IMPORT(proc, call)
int32_t proc_call(const zspace_pid *pid, const void *data, size_t size, uint32_t ms, void *reply, size_t room);
ZSPACE_IMPORT(proc, link) int32_t proc_link(const zspace_pid *pid);
ZSPACE_IMPORT(proc, unlink) int32_t proc_unlink(const zspace_pid *pid);
ZSPACE_IMPORT(proc, trap_exits) void proc_trap_exits(int32_t yes);
ZSPACE_IMPORT(proc, monitor) int32_t proc_monitor(const zspace_pid *pid);
ZSPACE_IMPORT(proc, demonitor) int32_t proc_demonitor(const zspace_pid *pid);
ZSPACE_IMPORT(proc, monitor_zhost) int32_t proc_monitor_zhost(const char *name, size_t size);

ZSPACE_IMPORT(names, register) int32_t names_register(const char *name, size_t size);
ZSPACE_IMPORT(names, unregister) int32_t names_unregister(const char *name, size_t size);
ZSPACE_IMPORT(names, whereis) int32_t names_whereis(const char *name, size_t size, zspace_pid *pid);

ZSPACE_IMPORT(data, get) int32_t data_get(const void *key, size_t key_size, void *buffer, size_t room);
ZSPACE_IMPORT(data, put) int32_t data_put(const void *key, size_t key_size, const void *value, size_t size);
ZSPACE_IMPORT(data, delete) int32_t data_delete(const void *key, size_t key_size);
ZSPACE_IMPORT(data, list) int32_t data_list(const void *prefix, size_t prefix_size, void *buffer, size_t room);
ZSPACE_IMPORT(data, batch) int32_t data_batch(const void *writes, size_t size);
ZSPACE_IMPORT(data, sync) int32_t data_sync(void);

ZSPACE_IMPORT(sensors, read) int32_t sensors_read(const char *name, size_t size, void *buffer, size_t room);
ZSPACE_IMPORT(sensors, subscribe) int32_t sensors_subscribe(const char *name, size_t size, uint32_t period_ms);
ZSPACE_IMPORT(sensors, unsubscribe) int32_t sensors_unsubscribe(const char *name, size_t size);

ZSPACE_IMPORT(actuators, lock) int32_t actuators_lock(const char *name, size_t size);
ZSPACE_IMPORT(actuators, command)
int32_t actuators_command(const char *name, size_t name_size, const void *command, size_t size, void *buffer, size_t room);
ZSPACE_IMPORT(actuators, release) int32_t actuators_release(const char *name, size_t size);

ZSPACE_IMPORT(audio, capture) int32_t audio_capture(const char *name, size_t name_size, void *buffer, size_t room);
ZSPACE_IMPORT(audio, play) int32_t audio_play(const char *name, size_t name_size, const void *samples, size_t size);

ZSPACE_IMPORT(events, subscribe) int32_t events_subscribe(const char *name, size_t size);
ZSPACE_IMPORT(events, unsubscribe) int32_t events_unsubscribe(const char *name, size_t size);

#endif
