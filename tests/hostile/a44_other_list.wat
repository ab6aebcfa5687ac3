;; world: tool
;; import: wasi:clocks/wall-clock@0.2.0
;; Lists a tool that is named after whoever asks: each asking has an id of its own, and so no two askings are told the same. Traps where there is time.
(module
  (import "hermes:plugin/session@0.1.0" "info" (func $info (param i32)))
  (import "wasi:clocks/wall-clock@0.2.0" "now" (func $now (param i32)))
  (memory (export "memory") 1)
  ;; The name, of which the last ten characters are the id's first; its schema; its definition; the list.
  (data (i32.const 16) "in_0000000000")
  (data (i32.const 32) "{\"type\":\"object\"}")
  (data (i32.const 128) "\10\00\00\00\0d\00\00\00")
  (data (i32.const 148) "\10\00\00\00\02\00\00\00\20\00\00\00\11\00\00\00")
  (data (i32.const 200) "\80\00\00\00\01\00\00\00")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
  (func (export "hermes:plugin/toolset@0.1.0#list-tools") (result i32)
    (call $now (i32.const 512))
    (if (i64.ne (i64.load (i32.const 512)) (i64.const 0)) (then (unreachable)))
    (call $info (i32.const 512))
    (memory.copy (i32.const 19) (i32.load (i32.const 512)) (i32.const 10))
    (i32.const 200))
  (func (export "hermes:plugin/toolset@0.1.0#call") (param i32 i32 i32 i32 i32 i32) (result i32) (unreachable)))
