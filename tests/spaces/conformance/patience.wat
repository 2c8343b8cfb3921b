;; declares: data.write actuators.relay proc.spawn names.register
;; slow: yes
;; shows: data.sync -6
;; shows: actuators.command -6
;; shows: names.register -6
;; shows: proc.spawn -6
;; shows: proc.spawn_link -6
;; The flash and the devices are slow: from its second call on, nobody looks after them for six seconds of seven.
(module
  (import "data" "put" (func $put (param i32 i32 i32 i32) (result i32)))
  (import "data" "sync" (func $sync (result i32)))
  (import "actuators" "lock" (func $lock (param i32 i32) (result i32)))
  (import "actuators" "command" (func $command (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "names" "register" (func $register (param i32 i32) (result i32)))
  (import "proc" "spawn" (func $spawn (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "proc" "spawn_link" (func $spawn_link (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "net" "call" (func $call (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "sys" "sleep" (func $sleep (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "relaysilenceout")
  (global $calls (mut i32) (i32.const 0))
  (func (export "on_process") (result i32)
    (if (i32.eqz (global.get $calls)) (then
      (global.set $calls (i32.const 1))
      (call $sleep (i32.const 10))
      (return (i32.const 0))))
    (expect (call $put (i32.const 0) (i32.const 5) (i32.const 0) (i32.const 3)) 0)
    (expect (call $sync) -6)
    ;; Into the next six seconds.
    (expect (call $call (i32.const 12) (i32.const 3) (i32.const 5) (i32.const 7) (i32.const 1500) (i32.const 1024) (i32.const 64)) -6)
    (expect (call $lock (i32.const 0) (i32.const 5)) 0)
    (expect (call $command (i32.const 0) (i32.const 5) (i32.const 0) (i32.const 3) (i32.const 1024) (i32.const 64)) -6)
    (expect (call $register (i32.const 5) (i32.const 7)) -6)
    (expect (call $spawn (i32.const 0) (i32.const 0) (i32.const 5) (i32.const 7) (i32.const 0) (i32.const 0) (i32.const 1024)) -6)
    (expect (call $spawn_link (i32.const 0) (i32.const 0) (i32.const 5) (i32.const 7) (i32.const 0) (i32.const 0) (i32.const 1024)) -6)
    (i32.const 1)))
