;; world: strategy
;; Returns a report whose summary is said to be 48 MiB long.
(module
  (memory (export "memory") 800)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
  (func (export "hermes:plugin/agent@0.1.0#describe") (result i32) (unreachable))
  (func (export "hermes:plugin/agent@0.1.0#run") (param i32) (result i32)
    (i32.store8 (i32.const 64) (i32.const 0))
    (i32.store8 (i32.const 68) (i32.const 0))
    (i32.store (i32.const 72) (i32.const 4096))
    (i32.store (i32.const 76) (i32.const 50331648))
    (i32.const 64)))
