;; world: strategy
;; Returns a structured result of as many opening brackets as its prompt says.
(module
  (memory (export "memory") 4)
  ;; part: room
  ;; part: strategy
  ;; part: prompt
  (func (export "hermes:plugin/agent@0.1.0#run") (param $task i32) (result i32)
    (local $bytes i32)
    (local.set $bytes (call $number (local.get $task)))
    (memory.fill (i32.const 8192) (i32.const 91) (local.get $bytes))
    (i32.store8 (i32.const 80) (i32.const 1))
    (i32.store (i32.const 84) (i32.const 8192))
    (i32.store (i32.const 88) (local.get $bytes))
    (call $done)))
