  ;; A strategy that has nothing to say of itself. The report "done" with empty lists stands at 64.
  (func (export "hermes:plugin/agent@0.1.0#describe") (result i32) (unreachable))
  (data (i32.const 16) "done")
  (func $done (result i32)
    (i32.store (i32.const 72) (i32.const 16))
    (i32.store (i32.const 76) (i32.const 4))
    (i32.const 64))
