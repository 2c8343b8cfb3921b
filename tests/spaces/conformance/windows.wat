;; declares: proc.send
;; The windows in bytes, and how many pids one may write to.
(module
  (import "net" "emit_to" (func $emit (param i32 i32 i32 i32) (result i32)))
  (import "proc" "send" (func $send (param i32 i32 i32) (result i32)))
  (import "sys" "sleep" (func $sleep (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "out")
  (global $calls (mut i32) (i32.const 0))
  (func (export "on_process") (result i32) (local $n i32)
    ;; Before its second call the target is there.
    (if (i32.eqz (global.get $calls)) (then
      (global.set $calls (i32.const 1))
      (call $sleep (i32.const 10))
      (return (i32.const 0))))
    ;; 128 KiB along a path.
    (expect (call $emit (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 49152)) 0)
    (expect (call $emit (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 49152)) 0)
    (expect (call $emit (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 32769)) -2)
    (expect (call $emit (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 32768)) 0)
    (expect (call $emit (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 1)) -2)
    ;; 128 KiB to a pid.
    (expect (call $send (i32.const 1024) (i32.const 0) (i32.const 49152)) 0)
    (expect (call $send (i32.const 1024) (i32.const 0) (i32.const 49152)) 0)
    (expect (call $send (i32.const 1024) (i32.const 0) (i32.const 32769)) -2)
    (expect (call $send (i32.const 1024) (i32.const 0) (i32.const 32768)) 0)
    (expect (call $send (i32.const 1024) (i32.const 0) (i32.const 1)) -2)
    ;; 256 pids.
    (loop $more
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (i32.store (i32.const 1036) (local.get $n))
      (br_if $more (i32.eqz (call $send (i32.const 1024) (i32.const 0) (i32.const 1)))))
    (expect (local.get $n) 256)
    (i32.const 1)))
