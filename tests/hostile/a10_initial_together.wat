;; world: strategy
;; Has four memories of 20 MiB from the beginning, each of which would be allowed.
(module
  (memory (export "memory") 320)
  (memory 320)
  (memory 320)
  (memory 320)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
  ;; part: strategy
  (func (export "hermes:plugin/agent@0.1.0#run") (param i32) (result i32) (call $done)))
