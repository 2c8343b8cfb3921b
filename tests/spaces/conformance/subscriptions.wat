;; declares: sensors.clock sensors.a sensors.b sensors.c sensors.d sensors.e sensors.f sensors.g sensors.h sensors.i sensors.j sensors.k sensors.l sensors.m sensors.n sensors.o sensors.p sensors.q
;; recognizes: every: {sensor: clock, periodMs: 10, rule: window, count: 2, figure: max}
;; shows: sensors.subscribe -8
;; shows: events.subscribe -8
;; How many readings wait, and how many subscriptions there are.
(module
  (import "sensors" "subscribe" (func $subscribe (param i32 i32 i32) (result i32)))
  (import "sensors" "unsubscribe" (func $unsubscribe (param i32 i32) (result i32)))
  (import "events" "subscribe" (func $watch (param i32 i32) (result i32)))
  (import "net" "recv_next" (func $recv (param i32 i32) (result i32)))
  (import "net" "recv_kind" (func $kind (result i32)))
  (import "sys" "now_us" (func $now (result i64)))
  (import "sys" "sleep" (func $sleep (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "clockevery")
  (global $since (mut i64) (i64.const 0))
  (func (export "on_process") (result i32) (local $n i32)
    ;; Mail wakes the guest, but for 300 ms it takes none.
    (if (i64.eqz (global.get $since)) (then
      (global.set $since (call $now))
      (expect (call $subscribe (i32.const 0) (i32.const 5) (i32.const 1)) 0)
      ))
    (if (i64.lt_u (i64.sub (call $now) (global.get $since)) (i64.const 300000)) (then
      (call $sleep (i32.const 300))
      (return (i32.const 0))))
    (loop $mail
      (if (i32.gt_s (call $recv (i32.const 1024) (i32.const 64)) (i32.const 0)) (then
        (expect (call $kind) 8)
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br $mail))))
    (expect (local.get $n) 8)
    (expect (call $unsubscribe (i32.const 0) (i32.const 5)) 0)
    ;; The sensors a, b, c and so on.
    (local.set $n (i32.const 97))
    (loop $more
      (i32.store8 (i32.const 16) (local.get $n))
      (expect (call $subscribe (i32.const 16) (i32.const 1) (i32.const 1000)) 0)
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $more (i32.lt_u (local.get $n) (i32.const 113))))
    (i32.store8 (i32.const 16) (local.get $n))
    (expect (call $subscribe (i32.const 16) (i32.const 1) (i32.const 1000)) -8)
    (expect (call $watch (i32.const 5) (i32.const 5)) -8)
    (i32.const 1)))
