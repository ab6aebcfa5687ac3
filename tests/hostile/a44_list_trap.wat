;; world: pure-tool
;; Traps when it is asked for its tools.
(module
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
  (func (export "hermes:plugin/toolset@0.1.0#list-tools") (result i32) (unreachable))
  (func (export "hermes:plugin/toolset@0.1.0#call") (param i32 i32 i32 i32 i32 i32) (result i32) (unreachable)))
