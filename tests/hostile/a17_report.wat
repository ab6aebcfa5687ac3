;; world: strategy
;; Returns a report whose summary has as many bytes as its prompt says.
(module
  (memory (export "memory") 1000)
  ;; part: room
  ;; part: strategy
  ;; part: prompt
  (func (export "hermes:plugin/agent@0.1.0#run") (param $task i32) (result i32)
    (local $bytes i32)
    (local.set $bytes (call $number (local.get $task)))
    (memory.fill (i32.const 8192) (i32.const 120) (local.get $bytes))
    (i32.store (i32.const 72) (i32.const 8192))
    (i32.store (i32.const 76) (local.get $bytes))
    (i32.const 64)))
