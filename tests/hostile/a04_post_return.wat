;; world: strategy
;; Gives its report, and never comes back when it may clean up after that.
(module
  ;; part: memory
  ;; part: strategy
  (func (export "hermes:plugin/agent@0.1.0#run") (param i32) (result i32) (call $done))
  (func (export "cabi_post_hermes:plugin/agent@0.1.0#run") (param i32) (loop $ever (br $ever))))
