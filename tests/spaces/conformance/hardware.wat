;; declares: sensors.clock sensors.broken sensors.gone actuators.relay actuators.gone audio.tape
;; recognizes: every: {sensor: clock, periodMs: 10, rule: window, count: 2, figure: max}
;; shows: sensors.read -1 -4 -5
;; shows: sensors.subscribe -4
;; shows: sensors.unsubscribe -1
;; shows: actuators.lock -1 -4
;; shows: actuators.command -3 -4 -7
;; shows: actuators.release -1
;; shows: audio.capture -3 -4
;; shows: audio.play -3 -4
;; shows: events.subscribe -1
;; shows: events.unsubscribe -1
(module
  (import "sensors" "read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "sensors" "subscribe" (func $subscribe (param i32 i32 i32) (result i32)))
  (import "sensors" "unsubscribe" (func $unsubscribe (param i32 i32) (result i32)))
  (import "actuators" "lock" (func $lock (param i32 i32) (result i32)))
  (import "actuators" "command" (func $command (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "actuators" "release" (func $release (param i32 i32) (result i32)))
  (import "audio" "capture" (func $capture (param i32 i32 i32 i32) (result i32)))
  (import "audio" "play" (func $play (param i32 i32 i32 i32) (result i32)))
  (import "events" "subscribe" (func $watch (param i32 i32) (result i32)))
  (import "events" "unsubscribe" (func $unwatch (param i32 i32) (result i32)))
  (import "net" "recv_next" (func $recv (param i32 i32) (result i32)))
  (import "net" "recv_kind" (func $kind (result i32)))
  (import "net" "recv_path" (func $path (param i32 i32) (result i32)))
  (import "sys" "sleep" (func $sleep (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "clockbrokenother")
  (data (i32.const 16) "relaygonetapeevery")
  (global $calls (mut i32) (i32.const 0))
  (func (export "on_process") (result i32)
    (if (global.get $calls) (then (return (call $later))))
    (global.set $calls (i32.const 1))
    (expect (i32.gt_s (call $read (i32.const 0) (i32.const 5) (i32.const 1024) (i32.const 64)) (i32.const 0)) 1)
    (expect (call $read (i32.const 5) (i32.const 6) (i32.const 1024) (i32.const 64)) -5)
    (expect (call $read (i32.const 11) (i32.const 5) (i32.const 1024) (i32.const 64)) -4)
    (expect (call $read (i32.const 21) (i32.const 4) (i32.const 1024) (i32.const 64)) -1)
    (expect (call $subscribe (i32.const 11) (i32.const 5) (i32.const 10)) -4)
    (expect (call $unsubscribe (i32.const 0) (i32.const 5)) -1)
    (expect (call $subscribe (i32.const 0) (i32.const 5) (i32.const 100)) 0)
    (expect (call $command (i32.const 16) (i32.const 5) (i32.const 0) (i32.const 3) (i32.const 1024) (i32.const 64)) -7)
    (expect (call $command (i32.const 0) (i32.const 5) (i32.const 0) (i32.const 3) (i32.const 1024) (i32.const 64)) -4)
    (expect (call $lock (i32.const 16) (i32.const 5)) 0)
    (expect (call $lock (i32.const 21) (i32.const 4)) -1)
    (expect (call $lock (i32.const 0) (i32.const 5)) -4)
    (expect (call $command (i32.const 16) (i32.const 5) (i32.const 0) (i32.const 3) (i32.const 1024) (i32.const 64)) 3)
    (expect (i32.load8_u (i32.const 1024)) 111)
    (expect (call $command (i32.const 16) (i32.const 5) (i32.const 0) (i32.const 16385) (i32.const 1024) (i32.const 64)) -3)
    (expect (call $release (i32.const 16) (i32.const 5)) 0)
    (expect (call $release (i32.const 16) (i32.const 5)) -1)
    (expect (call $capture (i32.const 25) (i32.const 4) (i32.const 1024) (i32.const 64)) 4)
    (expect (call $capture (i32.const 25) (i32.const 4) (i32.const 1024) (i32.const 3)) -3)
    (expect (call $capture (i32.const 0) (i32.const 5) (i32.const 1024) (i32.const 64)) -4)
    (expect (call $play (i32.const 25) (i32.const 4) (i32.const 0) (i32.const 16)) 0)
    (expect (call $play (i32.const 25) (i32.const 4) (i32.const 0) (i32.const 16385)) -3)
    (expect (call $play (i32.const 0) (i32.const 5) (i32.const 0) (i32.const 16)) -4)
    (expect (call $watch (i32.const 0) (i32.const 5)) -1)
    (expect (call $unwatch (i32.const 29) (i32.const 5)) -1)
    (expect (call $watch (i32.const 29) (i32.const 5)) 0)
    (call $sleep (i32.const 1000))
    (i32.const 0))
  ;; Twenty milliseconds later the recogniser has had its two readings; the subscription comes after a hundred.
  (func $later (result i32)
    (expect (i32.gt_s (call $recv (i32.const 1024) (i32.const 64)) (i32.const 0)) 1)
    (if (i32.eq (call $kind) (i32.const 9)) (then
      (expect (call $path (i32.const 1024) (i32.const 64)) 5)
      (return (i32.const 0))))
    (expect (call $kind) 8)
    (expect (call $unsubscribe (i32.const 0) (i32.const 5)) 0)
    (expect (call $unwatch (i32.const 29) (i32.const 5)) 0)
    (i32.const 1)))
