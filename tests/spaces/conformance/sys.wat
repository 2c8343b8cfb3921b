;; declares: sys.log secrets.password secrets.gone secrets.broken
;; more: config: {greeting: hello}
;; shows: sys.config -1 -3
;; shows: sys.secret -1 -3 -4 -5
;; shows: sys.self_emit -2 -3
;; shows: sys.argument -3
(module
  (import "sys" "log" (func $log (param i32 i32 i32)))
  (import "sys" "time_ms" (func $time (result i64)))
  (import "sys" "now_us" (func $now (result i64)))
  (import "sys" "sleep" (func $sleep (param i32)))
  (import "sys" "yield" (func $yield))
  (import "sys" "self_emit" (func $self_emit (param i32 i32) (result i32)))
  (import "sys" "random" (func $random (param i32 i32)))
  (import "sys" "config" (func $config (param i32 i32 i32 i32) (result i32)))
  (import "sys" "secret" (func $secret (param i32 i32 i32 i32) (result i32)))
  (import "sys" "argument" (func $argument (param i32 i32) (result i32)))
  (import "sys" "report" (func $report (param i32 i32 i32 i32)))
  (import "net" "recv_next" (func $recv (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "greetingnothingpasswordothergonebroken")
  (global $calls (mut i32) (i32.const 0))
  (func (export "on_process") (result i32)
    (local $n i32) (local $then i64)
    ;; The second call takes the mail and sleeps; the third comes after that.
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (if (i32.eq (global.get $calls) (i32.const 2)) (then
      (loop $mail (br_if $mail (i32.gt_s (call $recv (i32.const 1024) (i32.const 64)) (i32.const 0))))
      (call $sleep (i32.const 100))
      (return (i32.const 0))))
    (if (i32.eq (global.get $calls) (i32.const 3)) (then
      (expect (i64.ge_u (call $now) (i64.const 100000)) 1)
      (return (i32.const 1))))
    (call $log (i32.const 1) (i32.const 0) (i32.const 8))
    (expect (i64.eq (call $time) (i64.const 1000)) 1)
    (local.set $then (call $now))
    (call $yield)
    (expect (i64.gt_u (call $now) (local.get $then)) 1)
    ;; Two draws of eight bytes differ.
    (call $random (i32.const 1024) (i32.const 8))
    (call $random (i32.const 1032) (i32.const 8))
    (expect (i64.eq (i64.load (i32.const 1024)) (i64.load (i32.const 1032))) 0)
    (expect (call $config (i32.const 0) (i32.const 8) (i32.const 1024) (i32.const 64)) 5)
    (expect (i32.load8_u (i32.const 1024)) 104)
    (expect (call $config (i32.const 0) (i32.const 8) (i32.const 1024) (i32.const 4)) -3)
    (expect (call $config (i32.const 8) (i32.const 7) (i32.const 1024) (i32.const 64)) -1)
    (expect (call $secret (i32.const 15) (i32.const 8) (i32.const 1024) (i32.const 64)) 4)
    (expect (call $secret (i32.const 15) (i32.const 8) (i32.const 1024) (i32.const 3)) -3)
    (expect (call $secret (i32.const 23) (i32.const 5) (i32.const 1024) (i32.const 64)) -4)
    (expect (call $secret (i32.const 28) (i32.const 4) (i32.const 1024) (i32.const 64)) -1)
    (expect (call $secret (i32.const 32) (i32.const 6) (i32.const 1024) (i32.const 64)) -5)
    (expect (call $argument (i32.const 1024) (i32.const 64)) 8)
    (expect (call $argument (i32.const 1024) (i32.const 7)) -3)
    (call $report (i32.const 1) (i32.const 40) (i32.const 0) (i32.const 8))
    (expect (call $self_emit (i32.const 0) (i32.const 49153)) -3)
    (loop $more
      (expect (call $self_emit (i32.const 0) (i32.const 8)) 0)
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $more (i32.lt_u (local.get $n) (i32.const 32))))
    (expect (call $self_emit (i32.const 0) (i32.const 8)) -2)
    (call $sleep (i32.const 100))
    (i32.const 0)))
