;; world: tool
;; import: wasi:clocks/monotonic-clock@0.2.0
;; import: wasi:io/poll@0.2.0
;; Sleeps for five hundred years.
(module
  (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $subscribe (param i64) (result i32)))
  (import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))
  ;; part: memory
  ;; part: tool
  (func (export "hermes:plugin/toolset@0.1.0#call") (param i32 i32 i32 i32 i32 i32) (result i32)
    (i32.store (i32.const 1024) (call $subscribe (i64.const -1)))
    (call $poll (i32.const 1024) (i32.const 1) (i32.const 1032))
    (call $answer (i32.load (i32.const 1036)))))
