;; world: strategy
;; Never comes back from its start function.
(module
  ;; part: memory
  ;; part: strategy
  (func $start (loop $ever (br $ever)))
  (start $start)
  (func (export "hermes:plugin/agent@0.1.0#run") (param i32) (result i32) (call $done)))
