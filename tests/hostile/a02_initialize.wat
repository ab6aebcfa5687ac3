;; world: strategy
;; Never comes back from its `_initialize`.
(module
  ;; part: memory
  ;; part: strategy
  (func (export "_initialize") (loop $ever (br $ever)))
  (func (export "hermes:plugin/agent@0.1.0#run") (param i32) (result i32) (call $done)))
