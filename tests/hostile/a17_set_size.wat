;; world: tool
;; import: wasi:filesystem/types@0.2.0
;; import: wasi:filesystem/preopens@0.2.0
;; Makes a file in its first folder a tebibyte long: 0, or 100 and the number of the error.
(module
  (import "wasi:filesystem/preopens@0.2.0" "get-directories" (func $directories (param i32)))
  (import "wasi:filesystem/types@0.2.0" "[method]descriptor.open-at" (func $open (param i32 i32 i32 i32 i32 i32 i32)))
  (import "wasi:filesystem/types@0.2.0" "[method]descriptor.set-size" (func $set_size (param i32 i64 i32)))
  ;; part: memory
  ;; part: tool
  (data (i32.const 80) "huge")
  (func (export "hermes:plugin/toolset@0.1.0#call") (param i32 i32 i32 i32 i32 i32) (result i32)
    (call $directories (i32.const 1024))
    ;; Made, and to be written.
    (call $open (i32.load (i32.load (i32.const 1024))) (i32.const 0) (i32.const 80) (i32.const 4) (i32.const 1) (i32.const 2)
      (i32.const 1032))
    (if (i32.load8_u (i32.const 1032)) (then (unreachable)))
    (call $set_size (i32.load (i32.const 1036)) (i64.shl (i64.const 1) (i64.const 40)) (i32.const 1040))
    (call $answer (select
      (i32.add (i32.const 100) (i32.load8_u (i32.const 1041)))
      (i32.const 0)
      (i32.load8_u (i32.const 1040))))))
