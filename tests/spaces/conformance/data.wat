;; declares: data.read data.write
;; shows: data.get -1 -3 -5
;; shows: data.list -5
;; shows: data.put -2 -3 -5 -8
;; shows: data.delete -2 -3 -5
;; shows: data.batch -2 -3 -5 -8
(module
  (import "data" "get" (func $get (param i32 i32 i32 i32) (result i32)))
  (import "data" "list" (func $list (param i32 i32 i32 i32) (result i32)))
  (import "data" "put" (func $put (param i32 i32 i32 i32) (result i32)))
  (import "data" "delete" (func $delete (param i32 i32) (result i32)))
  (import "data" "batch" (func $batch (param i32 i32) (result i32)))
  (import "data" "sync" (func $sync (result i32)))
  (memory (export "memory") 5)
  (data (i32.const 0) "alpha")
  ;; The flash fails for keys that begin so.
  (data (i32.const 48) "broken")
  ;; Of a batch: put k = 64 KiB, more than the quota.
  (data (i32.const 64) "\01\00k\00\00\01\00")
  ;; Of a batch: put b1 = "xy", delete alpha.
  (data (i32.const 16) "\02\00b1\02\00\00\00xy\05\00alpha\ff\ff\ff\ff")
  (func (export "on_process") (result i32) (local $n i32)
    (expect (call $get (i32.const 0) (i32.const 5) (i32.const 1024) (i32.const 64)) -1)
    (expect (call $put (i32.const 0) (i32.const 5) (i32.const 0) (i32.const 3)) 0)
    ;; Seen at once, durable after the sync.
    (expect (call $get (i32.const 0) (i32.const 5) (i32.const 1024) (i32.const 64)) 3)
    (expect (call $sync) 0)
    (expect (call $get (i32.const 0) (i32.const 5) (i32.const 1024) (i32.const 2)) -3)
    (expect (call $list (i32.const 0) (i32.const 1) (i32.const 1024) (i32.const 64)) 7)
    (expect (call $batch (i32.const 16) (i32.const 21)) 0)
    (expect (call $get (i32.const 0) (i32.const 5) (i32.const 1024) (i32.const 64)) -1)
    (expect (call $list (i32.const 18) (i32.const 1) (i32.const 1024) (i32.const 64)) 4)
    ;; A cut batch changes nothing.
    (expect (call $batch (i32.const 16) (i32.const 20)) -5)
    (expect (call $batch (i32.const 0) (i32.const 262145)) -3)
    (expect (call $put (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 3)) -3)
    (expect (call $put (i32.const 0) (i32.const 257) (i32.const 0) (i32.const 3)) -3)
    (expect (call $put (i32.const 0) (i32.const 5) (i32.const 0) (i32.const 65537)) -3)
    (expect (call $delete (i32.const 0) (i32.const 0)) -3)
    (expect (call $delete (i32.const 18) (i32.const 2)) 0)
    ;; The quota is 64 KiB.
    (expect (call $put (i32.const 0) (i32.const 5) (i32.const 0) (i32.const 65532)) -8)
    (expect (call $put (i32.const 0) (i32.const 5) (i32.const 0) (i32.const 65531)) 0)
    (expect (call $put (i32.const 1) (i32.const 2) (i32.const 0) (i32.const 0)) -8)
    (expect (call $delete (i32.const 0) (i32.const 5)) 0)
    (expect (call $put (i32.const 1) (i32.const 2) (i32.const 0) (i32.const 0)) 0)
    (expect (call $get (i32.const 48) (i32.const 6) (i32.const 1024) (i32.const 64)) -5)
    (expect (call $list (i32.const 48) (i32.const 6) (i32.const 1024) (i32.const 64)) -5)
    (expect (call $put (i32.const 48) (i32.const 6) (i32.const 0) (i32.const 1)) -5)
    (expect (call $delete (i32.const 48) (i32.const 6)) -5)
    (expect (call $batch (i32.const 64) (i32.const 65543)) -8)
    (expect (call $sync) 0)
    ;; As many keys as one call may write, then no more until they are durable.
    (loop $more
      (i32.store16 (i32.const 1024) (local.get $n))
      (expect (call $put (i32.const 1024) (i32.const 2) (i32.const 0) (i32.const 0)) 0)
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $more (i32.lt_u (local.get $n) (i32.const 256))))
    (expect (call $put (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 0)) -2)
    (expect (call $delete (i32.const 0) (i32.const 3)) -2)
    (expect (call $batch (i32.const 16) (i32.const 21)) -2)
    (expect (call $sync) 0)
    (expect (call $put (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 0)) 0)
    ;; Of many keys, a list has the first 1,024: all but one of two bytes, behind two of length.
    (expect (call $sync) 0)
    (loop $rounds
      (loop $more
        (i32.store16 (i32.const 1024) (local.get $n))
        (expect (call $put (i32.const 1024) (i32.const 2) (i32.const 0) (i32.const 0)) 0)
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $more (i32.rem_u (local.get $n) (i32.const 256))))
      (expect (call $sync) 0)
      (br_if $rounds (i32.lt_u (local.get $n) (i32.const 1280))))
    (expect (call $list (i32.const 0) (i32.const 0) (i32.const 1024) (i32.const 65536)) 4097)
    (i32.const 1)))
