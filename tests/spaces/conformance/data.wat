;; declares: data.read data.write
;; shows: data.get -1 -3
;; shows: data.put -3 -8
;; shows: data.delete -3
;; shows: data.batch -3 -5
(module
  (import "data" "get" (func $get (param i32 i32 i32 i32) (result i32)))
  (import "data" "list" (func $list (param i32 i32 i32 i32) (result i32)))
  (import "data" "put" (func $put (param i32 i32 i32 i32) (result i32)))
  (import "data" "delete" (func $delete (param i32 i32) (result i32)))
  (import "data" "batch" (func $batch (param i32 i32) (result i32)))
  (import "data" "sync" (func $sync (result i32)))
  (memory (export "memory") 5)
  (data (i32.const 0) "alpha")
  ;; Of a batch: put b1 = "xy", delete alpha.
  (data (i32.const 16) "\02\00b1\02\00\00\00xy\05\00alpha\ff\ff\ff\ff")
  (func (export "on_process") (result i32)
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
    (i32.const 1)))
