;; world: strategy
;; Calls the host when it is asked where to put its task.
(module
  (import "hermes:plugin/session@0.1.0" "cancelled" (func $cancelled (result i32)))
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (drop (call $cancelled))
    (i32.const 1024))
  ;; part: strategy
  (func (export "hermes:plugin/agent@0.1.0#run") (param i32) (result i32) (call $done)))
