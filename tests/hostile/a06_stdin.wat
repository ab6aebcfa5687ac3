;; world: tool
;; import: wasi:cli/stdin@0.2.0
;; import: wasi:io/streams@0.2.0
;; Waits for a byte of standard input: whether that failed.
(module
  (import "wasi:cli/stdin@0.2.0" "get-stdin" (func $stdin (result i32)))
  (import "wasi:io/streams@0.2.0" "[method]input-stream.blocking-read" (func $read (param i32 i64 i32)))
  ;; part: memory
  ;; part: tool
  (func (export "hermes:plugin/toolset@0.1.0#call") (param i32 i32 i32 i32 i32 i32) (result i32)
    (call $read (call $stdin) (i64.const 1) (i32.const 1024))
    (call $answer (i32.load8_u (i32.const 1024)))))
