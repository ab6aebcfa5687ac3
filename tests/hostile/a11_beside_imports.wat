;; world: strategy
;; Has a table as large as all may be together; what binds its import is a module that has one too.
(module
  (import "hermes:plugin/session@0.1.0" "log" (func (param i32 i32 i32)))
  ;; part: memory
  (table 20000 funcref)
  ;; part: strategy
  (func (export "hermes:plugin/agent@0.1.0#run") (param i32) (result i32) (call $done)))
