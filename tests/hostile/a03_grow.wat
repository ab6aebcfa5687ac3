;; world: strategy
;; Grows its memory for ever, by no page at all.
(module
  ;; part: memory
  ;; part: strategy
  (func (export "hermes:plugin/agent@0.1.0#run") (param i32) (result i32)
    (loop $ever
      (drop (memory.grow (i32.const 0)))
      (br $ever))
    (call $done)))
