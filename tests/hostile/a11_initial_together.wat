;; world: strategy
;; Has two tables from the beginning, each of which would be allowed.
(module
  ;; part: memory
  (table 20000 funcref)
  (table 1 funcref)
  ;; part: strategy
  (func (export "hermes:plugin/agent@0.1.0#run") (param i32) (result i32) (call $done)))
