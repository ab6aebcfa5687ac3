;; world: strategy
;; Says at once that it is done; a test puts tables into it.
(module
  ;; part: memory
  ;; part: strategy
  ;; tables
  (func (export "hermes:plugin/agent@0.1.0#run") (param i32) (result i32) (call $done)))
