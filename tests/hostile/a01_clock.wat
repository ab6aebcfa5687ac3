;; world: strategy
;; import: wasi:clocks/monotonic-clock@0.2.0
;; Reads the clock for ever, which never has to wait.
(module
  (import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $now (result i64)))
  ;; part: memory
  ;; part: strategy
  (func (export "hermes:plugin/agent@0.1.0#run") (param i32) (result i32)
    (loop $ever
      (drop (call $now))
      (br $ever))
    (call $done)))
