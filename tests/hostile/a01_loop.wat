;; world: strategy
;; Never comes back from its run.
(module
  ;; part: memory
  ;; part: strategy
  (func (export "hermes:plugin/agent@0.1.0#run") (param i32) (result i32)
    (loop $ever (br $ever))
    (call $done)))
