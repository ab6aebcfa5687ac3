;; world: strategy
;; Fills its memory with a length of -1, which is four thousand million bytes.
(module
  ;; part: memory
  ;; part: strategy
  (func (export "hermes:plugin/agent@0.1.0#run") (param i32) (result i32)
    (memory.fill (i32.const 0) (i32.const 7) (i32.const -1))
    (call $done)))
