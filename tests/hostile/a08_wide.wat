;; world: strategy
;; Calls a function that calls itself without end; a test makes its frames wide.
(module
  ;; part: memory
  ;; part: strategy
  ;; down
  (func (export "hermes:plugin/agent@0.1.0#run") (param i32) (result i32)
    (drop (call $down (i64.const 1)))
    (call $done)))
