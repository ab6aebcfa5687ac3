;; world: pure-tool
;; import: wasi:clocks/wall-clock@0.2.0
;; Lists a tool whose name is the time of day in milliseconds, so that no two askings are told the same.
(module
  (import "wasi:clocks/wall-clock@0.2.0" "now" (func $now (param i32)))
  (memory (export "memory") 1)
  ;; The name, of which the last ten characters are digits; its schema; its definition; the list.
  (data (i32.const 16) "at_0000000000")
  (data (i32.const 32) "{\"type\":\"object\"}")
  (data (i32.const 128) "\10\00\00\00\0d\00\00\00")
  (data (i32.const 148) "\10\00\00\00\02\00\00\00\20\00\00\00\11\00\00\00")
  (data (i32.const 200) "\80\00\00\00\01\00\00\00")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
  (func (export "hermes:plugin/toolset@0.1.0#list-tools") (result i32)
    (local $ms i64)
    (local $at i32)
    (call $now (i32.const 512))
    (local.set $ms (i64.add
      (i64.mul (i64.load (i32.const 512)) (i64.const 1000))
      (i64.div_u (i64.load32_u (i32.const 520)) (i64.const 1000000))))
    (local.set $at (i32.const 29))
    (loop $digit
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $ms) (i64.const 10)))))
      (local.set $ms (i64.div_u (local.get $ms) (i64.const 10)))
      (br_if $digit (i32.gt_u (local.get $at) (i32.const 19))))
    (i32.const 200))
  (func (export "hermes:plugin/toolset@0.1.0#call") (param i32 i32 i32 i32 i32 i32) (result i32) (unreachable)))
