;; world: strategy
;; Traps in its start function.
(module
  (memory (export "memory") 1)
  (func $start (unreachable))
  (start $start)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
  (func (export "hermes:plugin/agent@0.1.0#describe") (result i32) (unreachable))
  (func (export "hermes:plugin/agent@0.1.0#run") (param i32) (result i32) (unreachable)))
