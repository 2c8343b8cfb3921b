;; declares:
;; shows: net.emit_to -1 -2 -3
;; shows: net.recv_next -1 -3
;; shows: net.recv_path -1 -3
;; shows: net.recv_kind -1
;; shows: net.sender -1
;; shows: net.undelivered -1 -3
;; shows: net.call -1 -2 -3 -5 -6
;; shows: net.reply -1 -3
(module
  (import "net" "emit_to" (func $emit (param i32 i32 i32 i32) (result i32)))
  (import "net" "recv_next" (func $recv (param i32 i32) (result i32)))
  (import "net" "recv_path" (func $path (param i32 i32) (result i32)))
  (import "net" "recv_kind" (func $kind (result i32)))
  (import "net" "sender" (func $sender (param i32) (result i32)))
  (import "net" "undelivered" (func $undelivered (param i32 i32) (result i32)))
  (import "net" "call" (func $call (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "net" "reply" (func $reply (param i32 i32) (result i32)))
  (import "sys" "sleep" (func $sleep (param i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "outnonesilenceabclaterfails")
  (global $calls (mut i32) (i32.const 0))
  (func (export "on_process") (result i32)
    (local $size i32)
    (if (global.get $calls) (then (return (call $later))))
    (global.set $calls (i32.const 1))
    ;; Nothing has come yet.
    (expect (call $recv (i32.const 1024) (i32.const 64)) -1)
    (expect (call $path (i32.const 1024) (i32.const 64)) -1)
    (expect (call $kind) -1)
    (expect (call $sender (i32.const 1024)) -1)
    (expect (call $undelivered (i32.const 1024) (i32.const 64)) -1)
    (expect (call $reply (i32.const 0) (i32.const 3)) -1)
    (expect (call $reply (i32.const 0) (i32.const 49153)) -3)
    (expect (call $emit (i32.const 3) (i32.const 4) (i32.const 0) (i32.const 3)) -1)
    (expect (call $emit (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 49153)) -3)
    ;; The mirror replies backwards; to "silence" it does not reply, and of a path that is not there it is not asked.
    (expect (call $call (i32.const 0) (i32.const 3) (i32.const 14) (i32.const 3) (i32.const 100) (i32.const 1024) (i32.const 64)) 3)
    (expect (i32.load8_u (i32.const 1024)) 99)
    (expect (call $call (i32.const 0) (i32.const 3) (i32.const 14) (i32.const 3) (i32.const 100) (i32.const 1024) (i32.const 2)) -3)
    (expect (call $call (i32.const 0) (i32.const 3) (i32.const 7) (i32.const 7) (i32.const 100) (i32.const 1024) (i32.const 64)) -6)
    (expect (call $call (i32.const 3) (i32.const 4) (i32.const 7) (i32.const 7) (i32.const 100) (i32.const 1024) (i32.const 64)) -1)
    (expect (call $call (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 49153) (i32.const 100) (i32.const 1024) (i32.const 64)) -3)
    (expect (call $call (i32.const 0) (i32.const 3) (i32.const 17) (i32.const 5) (i32.const 100) (i32.const 1024) (i32.const 64)) -2)
    (expect (call $call (i32.const 0) (i32.const 3) (i32.const 22) (i32.const 5) (i32.const 100) (i32.const 1024) (i32.const 64)) -5)
    ;; As many messages as the window holds, then no more.
    (loop $more
      (local.set $size (i32.add (local.get $size) (i32.const 1)))
      (br_if $more (i32.eqz (call $emit (i32.const 0) (i32.const 3) (i32.const 14) (i32.const 3)))))
    (expect (local.get $size) 2049)
    (expect (call $emit (i32.const 0) (i32.const 3) (i32.const 14) (i32.const 3)) -2)
    (call $sleep (i32.const 1000))
    (i32.const 0))
  ;; The partner has sent "hello" along "in", called with "ask", and lost two of our messages.
  (func $later (result i32)
    (expect (call $recv (i32.const 1024) (i32.const 4)) -3)
    (expect (call $recv (i32.const 1024) (i32.const 64)) 5)
    (expect (call $kind) 0)
    (expect (call $path (i32.const 1024) (i32.const 1)) -3)
    (expect (call $path (i32.const 1024) (i32.const 64)) 2)
    (expect (call $sender (i32.const 2048)) 16)
    (expect (i32.load (i32.const 2060)) 9)
    (expect (call $recv (i32.const 1024) (i32.const 64)) 3)
    (expect (call $kind) 3)
    (expect (call $reply (i32.const 14) (i32.const 3)) 0)
    (expect (call $reply (i32.const 14) (i32.const 3)) -1)
    (expect (call $undelivered (i32.const 1024) (i32.const 10)) -3)
    (expect (call $undelivered (i32.const 1024) (i32.const 64)) 11)
    (expect (i32.load (i32.const 1024)) 2)
    (expect (i32.load (i32.const 1028)) 1)
    (i32.const 1)))
