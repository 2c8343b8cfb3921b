;; declares: names.register names.whereis
;; shows: names.register -1 -2 -7 -8
;; shows: names.unregister -1
;; shows: names.whereis -1
(module
  (import "names" "register" (func $register (param i32 i32) (result i32)))
  (import "names" "unregister" (func $unregister (param i32 i32) (result i32)))
  (import "names" "whereis" (func $whereis (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "knowntakenfree../xmanysuper")
  (func (export "on_process") (result i32)
    (expect (call $register (i32.const 10) (i32.const 4)) 0)
    (expect (call $register (i32.const 5) (i32.const 5)) -7)
    (expect (call $register (i32.const 14) (i32.const 4)) -1)
    (expect (call $register (i32.const 18) (i32.const 4)) -8)
    (expect (call $register (i32.const 22) (i32.const 5)) -2)
    (expect (call $whereis (i32.const 0) (i32.const 5) (i32.const 1024)) 16)
    (expect (i32.load (i32.const 1036)) 77)
    (expect (call $whereis (i32.const 10) (i32.const 4) (i32.const 1024)) -1)
    (expect (call $unregister (i32.const 10) (i32.const 4)) 0)
    (expect (call $unregister (i32.const 14) (i32.const 4)) -1)
    (i32.const 1)))
