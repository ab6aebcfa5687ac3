;; world: strategy
;; Never comes back when it is asked where to put its task.
(module
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (loop $ever (br $ever))
    (unreachable))
  (func (export "hermes:plugin/agent@0.1.0#describe") (result i32) (unreachable))
  (func (export "hermes:plugin/agent@0.1.0#run") (param i32) (result i32) (unreachable)))
