;; world: strategy
;; import: wasi:random/random@0.2.0
;; Asks for a million million random bytes.
(module
  (import "wasi:random/random@0.2.0" "get-random-bytes" (func $random (param i64 i32)))
  ;; part: memory
  ;; part: strategy
  (func (export "hermes:plugin/agent@0.1.0#run") (param i32) (result i32)
    (call $random (i64.shl (i64.const 1) (i64.const 40)) (i32.const 1024))
    (call $done)))
